//! What a function is to the host: a name, a trigger, and something that answers. Knows no function.

use super::answer::{Done, Failed, HttpAnswer};
use super::delivery::{Arrived, Headers};
use super::envelope::Envelope;
use super::route::Parameters;
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;

/// An HTTP request to a function, however it arrived.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path, e.g. `/api/webhook`.
    pub path: String,
    /// What stands in the parameters of the function's route, decoded.
    pub parameters: Parameters,
    /// The query, decoded.
    pub query: Parameters,
    /// Headers by lower-case name.
    pub headers: Headers,
    /// The body, at most [`HTTP_BODY_BYTES_MAX`](super::dispatch::HTTP_BODY_BYTES_MAX).
    pub body: Bytes,
    /// When and as what it came in.
    pub arrived: Arrived,
}

/// One run of a function that the host invokes by envelope.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What the host sent.
    pub envelope: Envelope,
    /// When and as what it came in.
    pub arrived: Arrived,
}

/// A function with an HTTP trigger.
#[async_trait]
pub trait HttpFunction: Send + Sync + std::fmt::Debug {
    /// Answers one request whose method is one of the function's.
    async fn answer(&self, request: HttpRequest) -> HttpAnswer;
}

/// A function with any other trigger.
#[async_trait]
pub trait InvokedFunction: Send + Sync + std::fmt::Debug {
    /// Does the work of one invocation.
    ///
    /// # Errors
    /// [`Failed`] makes the host fail the invocation: a message goes back to the broker, a timer waits for its next tick.
    async fn run(&self, invocation: Invocation) -> Result<Done, Failed>;
}

/// How a function is reached.
#[derive(Debug)]
pub enum Kind {
    /// Over HTTP at `/api/<route>`.
    Http {
        /// The route without prefix, as in `function.json`.
        route: &'static str,
        /// The methods it answers; others get 405.
        methods: &'static [Method],
        /// What answers.
        function: Box<dyn HttpFunction>,
    },
    /// By `POST /<name>` with an envelope.
    Invoked {
        /// The trigger's binding name.
        binding: &'static str,
        /// What runs.
        function: Box<dyn InvokedFunction>,
    },
}

/// One function of the app.
#[derive(Debug)]
pub struct Function {
    /// Its name: the folder that holds its `function.json`, exact case.
    pub name: &'static str,
    /// How it is reached.
    pub kind: Kind,
}

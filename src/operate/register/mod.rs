//! `register`: what the source environment must have so that the events of the mapping's tables come to us, compared with
//! what it has, and brought in. A service endpoint (queue or webhook), asynchronous steps and their images; nothing else
//! is touched. Prints nothing, reads no settings.
//!
//! ```text
//! receiver  where events go, and the secrets for that
//! plan      mapping + metadata -> the steps that should be there            (pure)
//! found     what is there, read from the source
//! compare   both -> what to create, change, remove, and what is not ours    (pure)
//! run       the whole, and carrying it out
//! ```
//!
//! # Decision (2026-11-21): ids made of names
//! *Context:* running it twice must lead to the same rows as once, also after an answer that was lost. *Options:* find rows by
//! name; keep ids in a file; ids that follow from the installation's name, table and message. *Choice:* the last: a create
//! that is repeated meets its own row, and a renamed step is still known. What is bound to our endpoint and carries
//! [`MARK`] is ours as well, so that steps of tables that left the mapping go. *Would change it:* an environment
//! that refuses given ids for these tables (none is known to).

mod compare;
mod found;
mod plan;
mod receiver;
mod run;
#[cfg(test)]
mod tests;

pub use compare::{Act, Change, Plan};
pub use receiver::{BadReceiver, QueueAddress, Receiver, WebhookAddress};
pub use run::{CannotRegister, Registrar, Removed};

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How descriptions of our rows begin.
pub const MARK: &str = "Registered by dataverse-sync";

/// What tells two installations on one source apart, and how names of rows begin.
pub const NAME_DEFAULT: &str = "dataverse-sync";

/// The id that a row of this installation has.
fn id(installation: &str, what: &str) -> Uuid {
    let hash = Sha256::digest(format!("dataverse-sync register\n{installation}\n{what}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

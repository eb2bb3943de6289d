//! Limits of what is decoded. Every one of them answers with an error that names it.

/// The limits; [`Default`] gives the ones in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Body, in bytes. CONTRACT: 1 MiB. Dataverse sends at most 256 KB to webhooks, 192 KB to Service Bus.
    pub body_bytes_max: usize,
    /// Nesting of objects and arrays, at most 127 (the parser's own limit). A context takes 8 levels and each of its
    /// parents 1 more; the platform stops at plug-in depth 8, with up to three stages each.
    pub depth_max: usize,
    /// Columns of one row. Dataverse tables hold at most about 1 000.
    pub columns_max: usize,
    /// Events of one CloudEvents batch.
    pub batch_max: usize,
    /// Parties in one column, and rows of one link message. Dataverse takes at most 1 000 recipients.
    pub parties_max: usize,
    /// Options of one multi-select value. Dataverse allows 150 selected.
    pub choices_max: usize,
    /// Columns of one alternate key. Dataverse allows 16.
    pub key_parts_max: usize,
    /// One text value, in bytes. Dataverse's longest text has 1 048 576 characters.
    pub text_bytes_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            depth_max: 64,
            columns_max: 2_000,
            batch_max: 1_000,
            parties_max: 1_000,
            choices_max: 500,
            key_parts_max: 16,
            text_bytes_max: 1 << 20,
        }
    }
}

/// `serde_json` refuses deeper nesting by itself.
pub(super) const PARSER_DEPTH: usize = 127;

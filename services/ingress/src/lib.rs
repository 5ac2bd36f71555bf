//! Webhooks from the world: verified over their raw bytes, normalized, signed, published, and only
//! then acknowledged.

mod json;
pub mod normalize;
pub mod verify;

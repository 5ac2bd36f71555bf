//! The scripted model.

#[derive(Clone, Debug)]
pub struct Model {}

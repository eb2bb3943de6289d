//! The rules of the environment, one case each.

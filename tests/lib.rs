//! Stories in network namespaces, one file a feature.

pub mod story_support;

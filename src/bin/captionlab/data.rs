//! The data set of a verb.

use std::path::{Path, PathBuf};

use captionlab::Result;
use captionlab::data::{Dataset, ScenesConfig};
use clap::Args;

#[derive(Args)]
pub struct DataOptions {
    /// A captioned data set in any of the layouts that are known, with splits or without; Scenes when left out.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Flickr30k Entities of that data set: the folder that holds Sentences and Annotations.
    #[arg(long, value_name = "DIR", requires = "data")]
    entities: Option<PathBuf>,
}

impl DataOptions {
    /// What is named as the data set.
    pub fn folder(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// The data set that is named, with the splits that the lessons draw where it has none, or else scenes.
    pub fn open(&self, scenes: &ScenesConfig) -> Result<Dataset> {
        let Some(folder) = &self.data else { return Dataset::scenes(scenes) };
        let dataset = Dataset::open(folder)?.with_splits()?;
        match &self.entities {
            Some(folder) => dataset.with_entities(folder),
            None => Ok(dataset),
        }
    }
}

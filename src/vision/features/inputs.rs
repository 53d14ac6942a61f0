//! Cached features as training inputs.

use std::path::PathBuf;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{ExtractConfig, FeatureBatch, FeatureCache, NamedEncoder, PictureFeatures, PlaceOfData, extract_examples};
use crate::Result;
use crate::data::{BoundingBox, Dataset, Example, Random};
use crate::train::examples::SplitExamples;
use crate::train::supervised::Inputs;
use crate::train::{Progress, RunSettings};

/// The cached features of a split's examples.
#[derive(Debug)]
pub(crate) struct FeatureInputs {
    cache: Arc<FeatureCache>,
    names: Vec<String>,
    device: Device,
}

impl Inputs for FeatureInputs {
    type Batch = FeatureBatch;

    fn batch(&self, indices: &[usize], _: Option<&mut Random>) -> Result<FeatureBatch> {
        let names: Vec<&str> = indices.iter().map(|&index| self.names[index].as_str()).collect();
        self.cache.batch(&names)?.to_device(self.device)
    }
}

/// The features that a training reads.
pub(crate) struct FeatureLoading {
    pub(crate) encoder: NamedEncoder,
    /// Folder of all caches; `None` for the project's.
    pub(crate) cache: Option<PathBuf>,
    /// The data set.
    pub(crate) data: PlaceOfData,
}

impl FeatureLoading {
    /// Identifies the data set among caches.
    pub(crate) fn place_of(dataset: &Dataset) -> PlaceOfData {
        PlaceOfData::of(dataset)
    }
}

impl FeatureInputs {
    /// The boxes of an example's regions.
    ///
    /// # Errors
    /// Those of [`FeatureCache::get`].
    pub(crate) fn boxes(&self, index: usize) -> Result<Vec<BoundingBox>> {
        Ok(self.cache.get(&self.names[index])?.boxes)
    }
}

impl FeatureLoading {
    /// Opens the features of examples and computes missing ones, with a line for each image that cannot be read; `None` when the
    /// training is to stop.
    ///
    /// # Errors
    /// Those of [`extract`](super::extract) and [`FeatureCache::open`].
    pub(crate) fn open(
        &self,
        examples: &[&Example],
        progress: &Progress,
    ) -> Result<Option<(FeatureCache, Vec<String>)>> {
        let config = ExtractConfig { folder: self.cache.clone(), ..ExtractConfig::default() };
        let report = self.encoder.with_encoder(|encoder| {
            extract_examples(examples, &self.data, encoder, &config, |status| {
                progress.preparing(status.done, status.total);
                !progress.should_stop()
            })
        })?;
        if report.stopped {
            return Ok(None);
        }
        let cache = report.open()?;
        self.encoder.check_cache(&cache)?;
        Ok(Some((cache, report.skipped)))
    }
}

/// Opens the features of all examples and computes missing ones. Examples whose images cannot be read are removed, with a note.
///
/// # Errors
/// Those of [`extract`](super::extract) and [`FeatureCache::open`].
pub(crate) fn load_features<Target: Clone>(
    parts: [&mut SplitExamples<Target, FeatureInputs>; 3],
    loading: &FeatureLoading,
    settings: &RunSettings,
    progress: &Progress,
) -> Result<()> {
    // Samples are examples of the other two splits.
    let examples: Vec<&Example> = parts[..2].iter().flat_map(|part| &part.examples).collect();
    let Some((cache, skipped)) = loading.open(&examples, progress)? else { return Ok(()) };
    let cache = Arc::new(cache);
    let mut left = Vec::new();
    for part in parts {
        let here: Vec<usize> = (0..part.len()).filter(|&index| cache.contains(&part.examples[index].name)).collect();
        let names = here.iter().map(|&index| part.examples[index].name.clone()).collect();
        part.keep(&here, FeatureInputs { cache: Arc::clone(&cache), names, device: settings.device });
        left.push(part.len());
    }
    progress.left_out(&skipped, left[0] == 0);
    Ok(())
}

impl FeatureBatch {
    /// A batch of whole-image features, `[pictures, width]`, as one region per image.
    pub fn whole_pictures(features: &Tensor) -> Self {
        let (pictures, device) = (features.size()[0], features.device());
        let mask = Tensor::ones([pictures, 1], (Kind::Float, device));
        Self::new(features.unsqueeze(1), mask, Tensor::zeros([pictures, 1, 4], (Kind::Float, device)))
    }

    /// Single regions as pictures of their own, given as (number of the picture, number of the region). Behind each stands the whole
    /// picture as padding, from whose box its size is known.
    ///
    /// # Shapes
    /// - result: `[regions, 2, width]`
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when a number is too large.
    pub(crate) fn of_regions(&self, regions: &[(usize, usize)]) -> Result<Self> {
        let most = self.mask.size()[1];
        let number =
            |&(picture, region): &(usize, usize)| [(picture as i64) * most + region as i64, picture as i64 * most];
        let numbers: Vec<i64> = regions.iter().flat_map(number).collect();
        let numbers = Tensor::from_slice(&numbers).f_to_device(self.features.device())?;
        let pairs = [regions.len() as i64, 2, -1];
        let select = |tensor: &Tensor| tensor.f_flatten(0, 1)?.f_index_select(0, &numbers)?.f_view(pairs);
        let kind = (Kind::Float, self.features.device());
        let mask =
            Tensor::f_from_slice(&[1f32, 0.0])?.f_to_device(kind.1)?.f_expand([regions.len() as i64, 2], false)?;
        Ok(Self::new(select(&self.features)?, mask.f_contiguous()?, select(&self.boxes)?))
    }

    /// Pads the features of several images to the most regions.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when the feature dimensions differ.
    pub fn of(pictures: &[PictureFeatures]) -> Result<Self> {
        let most = pictures.iter().map(|picture| picture.features.size()[0]).max().unwrap_or(0);
        let Some(first) = pictures.first() else { return Ok(Self::default()) };
        let kind = (Kind::Float, first.features.device());
        let count = pictures.len() as i64;
        let batch = Self::new(
            Tensor::f_zeros([count, most, first.features.size()[1]], kind)?,
            Tensor::f_zeros([count, most], kind)?,
            Tensor::f_zeros([count, most, 4], kind)?,
        );
        for (row, picture) in (0..).zip(pictures) {
            let regions = picture.features.size()[0];
            let corners: Vec<f32> = picture
                .boxes
                .iter()
                .flat_map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom])
                .collect();
            batch.features.f_get(row)?.f_narrow(0, 0, regions)?.f_copy_(&picture.features)?;
            let _ = batch.mask.f_get(row)?.f_narrow(0, 0, regions)?.f_fill_(1.0)?;
            batch
                .boxes
                .f_get(row)?
                .f_narrow(0, 0, regions)?
                .f_copy_(&Tensor::from_slice(&corners).f_reshape([regions, 4])?)?;
        }
        Ok(batch)
    }

    /// Copies the batch to another device.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when they cannot be copied there.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        let [features, mask, boxes] =
            [&self.features, &self.mask, &self.boxes].map(|tensor| tensor.f_to_device(device));
        Ok(Self::new(features?, mask?, boxes?))
    }
}

//! Captions, and what people say of the same images.

#[cfg(feature = "tensors")]
use crate::data::Dataset;
use crate::data::Example;
#[cfg(feature = "tensors")]
use crate::train::{EpochSamples, Sample};
use crate::{Error, Result};

/// A caption, and what people say of the same image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionToScore {
    /// Names the image.
    pub id: String,
    /// The caption to score.
    pub hypothesis: String,
    pub references: Vec<String>,
}

impl CaptionToScore {
    /// ```
    /// use captionlab::metrics::CaptionToScore;
    /// CaptionToScore::new("1", "a dog runs", ["a brown dog is running", "the dog runs"]);
    /// ```
    pub fn new<S: Into<String>>(
        id: impl Into<String>,
        hypothesis: impl Into<String>,
        references: impl IntoIterator<Item = S>,
    ) -> Self {
        let references = references.into_iter().map(Into::into).collect();
        Self { id: id.into(), hypothesis: hypothesis.into(), references }
    }

    /// One caption for each example, against all that people say of it.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are not as many captions as examples.
    pub fn of_examples<S: AsRef<str>>(examples: &[Example], captions: &[S]) -> Result<Vec<Self>> {
        if examples.len() != captions.len() {
            return Err(Error::argument(
                format!("{} images, but {} captions", examples.len(), captions.len()),
                "Give one caption for each image, in the same order.",
            ));
        }
        let pairs = examples.iter().zip(captions);
        Ok(pairs.map(|(example, caption)| Self::new(&example.name, caption.as_ref(), &example.captions)).collect())
    }

    /// What a person says of each example, against what the others say: the first caption of the first image, the second of the
    /// second, and so on. Images of fewer than two captions are left out.
    pub fn of_people(examples: &[Example]) -> Vec<Self> {
        let of = |(number, example): (usize, &Example)| {
            let mut others = example.captions.clone();
            let own = others.remove(number % others.len());
            Self::new(&example.name, own, others)
        };
        examples.iter().filter(|example| example.captions.len() > 1).enumerate().map(of).collect()
    }

    /// The captions that a run wrote at the end of an epoch.
    ///
    /// # Errors
    /// [`Error::Argument`] for a sample whose image is not in the data set.
    #[cfg(feature = "tensors")]
    pub fn of_samples(samples: &EpochSamples, dataset: &Dataset) -> Result<Vec<Self>> {
        let examples: std::collections::HashMap<&str, &Example> =
            dataset.examples.iter().map(|example| (example.name.as_str(), example)).collect();
        let of = |sample: &Sample| {
            let example = examples.get(sample.name.as_str()).ok_or_else(|| {
                let problem = format!("{} holds no image `{}`", dataset.name, sample.name);
                Error::argument(problem, "Give the data set that the run was started with.")
            })?;
            Ok(Self::new(&sample.name, &sample.text, &example.captions))
        };
        samples.samples.iter().map(of).collect()
    }
}

#[cfg(all(test, feature = "tensors"))]
mod tests {
    use super::*;
    use crate::data::scenes::ScenesConfig;

    fn dataset() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 7, validation: 0, test: 0, seed: 1 }).unwrap()
    }

    #[test]
    fn captions_of_examples_stand_against_all_that_people_say() {
        let dataset = dataset();
        let captions = CaptionToScore::of_examples(&dataset.examples[..2], &["a dog", "a boat"]).unwrap();
        assert_eq!(captions[1].hypothesis, "a boat");
        assert_eq!(captions[1].references, dataset.examples[1].captions);
        let error = CaptionToScore::of_examples(&dataset.examples, &["a dog"]).unwrap_err().to_string();
        assert!(error.contains("7 images, but 1 captions"), "{error}");
    }

    #[test]
    fn a_person_is_scored_against_the_others_and_each_in_turn() {
        let mut dataset = dataset();
        dataset.examples[0].captions.truncate(1);
        let people = CaptionToScore::of_people(&dataset.examples);
        assert_eq!(people.len(), 6);
        for (number, person) in people.iter().enumerate() {
            let all = &dataset.examples[number + 1].captions;
            assert_eq!(person.hypothesis, all[number % 5]);
            assert_eq!(person.references.len(), 4);
            assert_eq!(person.references[0], all[usize::from(number % 5 == 0)]);
        }
    }

    #[test]
    fn samples_of_an_epoch_are_found_by_their_images_names() {
        let dataset = dataset();
        let sample = |name: &str| Sample { name: name.to_string(), text: "a kite".to_string() };
        let epoch = EpochSamples { epoch: 1, samples: vec![sample(&dataset.examples[3].name)] };
        let captions = CaptionToScore::of_samples(&epoch, &dataset).unwrap();
        assert_eq!(captions[0].references, dataset.examples[3].captions);
        let other = EpochSamples { epoch: 1, samples: vec![sample("dog.jpg")] };
        assert!(CaptionToScore::of_samples(&other, &dataset).unwrap_err().to_string().contains("`dog.jpg`"));
    }
}

//! Captions to score, with their references.

use crate::data::Example;
use crate::{Error, Result};

/// A caption to score, with the references of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionToScore {
    /// Id of the image.
    pub id: String,
    /// The caption to score.
    pub hypothesis: String,
    /// The references: captions of the image by people.
    pub references: Vec<String>,
}

impl CaptionToScore {
    /// Creates a caption with its references.
    ///
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

    /// Pairs each example with a caption to score; its own captions are the references.
    ///
    /// # Errors
    /// [`Error::Argument`] when the numbers of captions and examples differ.
    pub fn of_examples<S: AsRef<str>>(examples: &[Example], captions: &[S]) -> Result<Vec<Self>> {
        check_count(examples.len(), captions.len())?;
        let pairs = examples.iter().zip(captions);
        Ok(pairs.map(|(example, caption)| Self::new(&example.name, caption.as_ref(), &example.captions)).collect())
    }

    /// Takes one reference of each example as its hypothesis, to score people against each other: the first caption of the first image,
    /// the second of the second, and so on. Images with fewer than two captions are left out.
    pub fn of_people(examples: &[Example]) -> Vec<Self> {
        let of = |(number, example): (usize, &Example)| {
            let mut others = example.captions.clone();
            let own = others.remove(number % others.len());
            Self::new(&example.name, own, others)
        };
        examples.iter().filter(|example| example.captions.len() > 1).enumerate().map(of).collect()
    }

    /// Replaces the hypotheses, keeping the order and the references, to compare another system.
    ///
    /// # Errors
    /// [`Error::Argument`] when the numbers of captions and images differ.
    pub fn said_instead<S: AsRef<str>>(of: &[Self], captions: &[S]) -> Result<Vec<Self>> {
        check_count(of.len(), captions.len())?;
        let pairs = of.iter().zip(captions);
        Ok(pairs.map(|(one, caption)| Self { hypothesis: caption.as_ref().to_string(), ..one.clone() }).collect())
    }
}

fn check_count(images: usize, captions: usize) -> Result<()> {
    if images == captions {
        return Ok(());
    }
    Err(Error::argument(
        format!("{images} images, but {captions} captions"),
        "Give one caption for each image, in the same order.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
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
    fn other_captions_stand_against_the_same_references() {
        let people = CaptionToScore::of_people(&dataset().examples);
        let models = CaptionToScore::said_instead(&people, &["a kite"; 7]).unwrap();
        for (person, model) in people.iter().zip(&models) {
            assert_eq!((&model.id, &model.references), (&person.id, &person.references));
            assert_eq!(model.hypothesis, "a kite");
        }
        assert!(CaptionToScore::said_instead(&people, &["a kite"]).is_err());
    }
}

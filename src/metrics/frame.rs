//! Scores as a data frame.

use polars::prelude::{Column, DataFrame, NamedFrom, Series};

use super::{CaptionToScore, Report};
use crate::{Error, Result};

impl Report {
    /// The scores of each caption as a data frame, one row per caption: `image`, `caption`, and a column per score.
    ///
    /// # Errors
    /// [`Error::Argument`] when `captions` are not those that were scored.
    pub fn data_frame(&self, captions: &[CaptionToScore]) -> Result<DataFrame> {
        let ids = captions.iter().map(|caption| &caption.id);
        if !ids.eq(self.captions.iter().map(|caption| &caption.id)) {
            return Err(Error::argument(
                "the report is of other captions than these",
                "Give the captions that were scored, in the same order.",
            ));
        }
        let text = |name: &str, of: fn(&CaptionToScore) -> &str| -> Column {
            Series::new(name.into(), captions.iter().map(of).collect::<Vec<&str>>()).into()
        };
        let mut columns =
            vec![text("image", |caption| caption.id.as_str()), text("caption", |caption| caption.hypothesis.as_str())];
        for (place, (name, _)) in self.corpus.named().into_iter().enumerate() {
            let scores: Vec<f64> = self.captions.iter().map(|caption| caption.scores.named()[place].1).collect();
            columns.push(Series::new(name.into(), scores).into());
        }
        DataFrame::new(captions.len(), columns).map_err(|error| {
            Error::argument(format!("the scores do not make a data frame: {error}"), "Is the report whole?")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Meteor, Metric, score};

    #[test]
    fn a_report_is_a_data_frame_of_a_row_a_caption() {
        let captions =
            [CaptionToScore::new("1", "a dog", ["a dog runs"]), CaptionToScore::new("2", "a boat", ["the boat"])];
        let report = score(&captions, &[Metric::RougeL, Metric::Bleu], &Meteor::new(None)).unwrap();
        let frame = report.data_frame(&captions).unwrap();
        assert_eq!(frame.shape(), (2, 7));
        let names: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["image", "caption", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"]);
        let rouge = frame.column("ROUGE-L").unwrap().f64().unwrap().get(1);
        assert_eq!(rouge, report.captions[1].scores.rouge_l);
        assert!(report.data_frame(&captions[..1]).unwrap_err().to_string().contains("other captions"));
    }
}

//! Learning curves.

use super::curves::{Series, curves};
use super::figure::Figure;
use crate::Result;
use crate::train::Curves;

/// Most points of the training loss.
const MOST_MEANS: usize = 80;

/// Draws the training and validation loss of a run over its epochs.
///
/// Because the loss of a single step is noisy, the training loss is averaged over eightieths of the run.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) before the first step.
pub fn learning_curves(title: &str, loss_label: &str, losses: &Curves) -> Result<Figure> {
    let training = Series::new("training", means(&losses.training_loss));
    let validation = Series::new("validation, unseen pictures", losses.validation_loss.clone());
    // A data set without validation images has no such line.
    let series = if validation.points.is_empty() { vec![training] } else { vec![validation, training] };
    curves(title, "epochs", loss_label, &series)
}

/// Means over groups of adjacent points, at most [`MOST_MEANS`].
fn means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let (x, y) = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (x / part.len() as f64, y / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(MOST_MEANS).max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_training_loss_is_smoothed_and_the_validation_loss_is_not() {
        let noisy = (0..800).map(|step| (f64::from(step) / 100.0, if step % 2 == 0 { 1.0 } else { 3.0 })).collect();
        let losses =
            Curves { training_loss: noisy, validation_loss: vec![(1.0, 2.5), (2.0, 2.2)], ..Curves::default() };
        assert_eq!(means(&losses.training_loss).len(), 80);
        assert!(means(&losses.training_loss).iter().all(|mean| mean.1 == 2.0));
        let figure = learning_curves("It learns", "loss", &losses).unwrap();
        let text = &figure.alternative;
        assert!(text.contains("validation, unseen pictures: from 2.5 at 1 to 2.2 at 2."), "{text}");
        assert!(text.contains("training: from 2 at "), "{text}");
    }

    #[test]
    fn a_short_run_is_shown_as_it_is_and_an_empty_one_is_refused() {
        let losses = Curves { training_loss: vec![(0.5, 3.0), (1.0, 2.0)], ..Curves::default() };
        assert_eq!(means(&losses.training_loss), losses.training_loss);
        assert!(!learning_curves("It learns", "loss", &losses).unwrap().alternative.contains("validation"));
        assert!(learning_curves("It learns", "loss", &Curves::default()).is_err());
    }
}

//! ROUGE-L: longest common subsequence.

/// Weight of recall relative to precision, as in the reference scorer.
const BETA: f64 = 1.2;

/// ROUGE-L of a caption, in `0..=1`.
///
/// Precision is the longest common subsequence over the caption's length, recall the same over the reference's length. The highest
/// precision and the highest recall among the references, even of different ones, give the F measure with β = 1.2. Lin (2004), *ROUGE:
/// A Package for Automatic Evaluation of Summaries*, section 3.1; several references as in pycocoevalcap, where a caption without words
/// is a single empty word.
///
/// ```
/// // "a dog … grass" in both: 3 of 4 words, 3 of 5 words.
/// let score = captionlab::metrics::rouge_l(&["a", "dog", "in", "grass"], &[["a", "dog", "runs", "on", "grass"]]);
/// let (precision, recall) = (3.0 / 4.0, 3.0 / 5.0);
/// assert_eq!(score, (1.0 + 1.44) * precision * recall / (recall + 1.44 * precision));
/// ```
pub fn rouge_l<S: AsRef<str>, R: AsRef<[S]>>(hypothesis: &[S], references: &[R]) -> f64 {
    let hypothesis = or_empty(hypothesis);
    let (mut precision, mut recall) = (0f64, 0f64);
    for reference in references {
        let reference = or_empty(reference.as_ref());
        let common = longest_common_subsequence(&hypothesis, &reference) as f64;
        precision = precision.max(common / hypothesis.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    let beta = BETA.powi(2);
    ((1.0 + beta) * precision * recall) / (recall + beta * precision)
}

fn or_empty<S: AsRef<str>>(tokens: &[S]) -> Vec<&str> {
    if tokens.is_empty() { vec![""] } else { tokens.iter().map(AsRef::as_ref).collect() }
}

/// The length of the longest common subsequence, in words.
fn longest_common_subsequence(left: &[&str], right: &[&str]) -> usize {
    // lengths[j]: for the words of `left` so far and the first j words of `right`.
    let mut lengths = vec![0; right.len() + 1];
    for word in left {
        let mut diagonal = 0;
        for (place, other) in right.iter().enumerate() {
            let above = lengths[place + 1];
            lengths[place + 1] = if word == other { diagonal + 1 } else { above.max(lengths[place]) };
            diagonal = above;
        }
    }
    lengths[right.len()]
}

/// The word indices of the longest common subsequence in a caption, which [`rouge_l`] counts.
///
/// Memory grows with the product of both lengths. Among equally long subsequences, the one whose words come first is returned.
///
/// ```
/// use captionlab::metrics::longest_common_run;
/// assert_eq!(longest_common_run(&["a", "dog", "in", "grass"], &["a", "dog", "runs", "on", "grass"]), [0, 1, 3]);
/// ```
pub fn longest_common_run<S: AsRef<str>>(hypothesis: &[S], reference: &[S]) -> Vec<usize> {
    // lengths[i][j]: for the words from i and from j.
    let mut lengths = vec![vec![0usize; reference.len() + 1]; hypothesis.len() + 1];
    let are_equal = |place: usize, other: usize| hypothesis[place].as_ref() == reference[other].as_ref();
    for place in (0..hypothesis.len()).rev() {
        for other in (0..reference.len()).rev() {
            lengths[place][other] = match are_equal(place, other) {
                true => lengths[place + 1][other + 1] + 1,
                false => lengths[place + 1][other].max(lengths[place][other + 1]),
            };
        }
    }
    let (mut place, mut other, mut run) = (0, 0, Vec::new());
    while place < hypothesis.len() && other < reference.len() {
        if are_equal(place, other) {
            run.push(place);
            (place, other) = (place + 1, other + 1);
        } else if lengths[place + 1][other] > lengths[place][other + 1] {
            place += 1;
        } else {
            other += 1;
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn common_subsequences_keep_the_order_and_may_have_gaps() {
        for (left, right, length) in [
            ("a b c", "a b c", 3),
            ("a b c", "c b a", 1),
            ("a x b y c", "a b c", 3),
            ("a b", "c d", 0),
            ("police killed the gunman", "police kill the gunman", 3),
            ("a a a", "a a", 2),
        ] {
            assert_eq!(longest_common_subsequence(&words(left), &words(right)), length, "{left} | {right}");
            assert_eq!(longest_common_subsequence(&words(right), &words(left)), length, "{right} | {left}");
        }
    }

    #[test]
    fn the_best_precision_and_the_best_recall_may_be_of_two_references() {
        let long = words("a dog runs and jumps and plays on grass");
        let short = words("a cat");
        let hypothesis = words("a dog runs");
        // Precision 3/3 of the long one, recall 1/2 of the short one.
        let expected = 2.44 * 0.5 / (0.5 + 1.44);
        assert!((rouge_l(&hypothesis, &[long, short]) - expected).abs() < 1e-12);
    }

    #[test]
    fn without_words_in_common_it_is_zero() {
        assert_eq!(rouge_l(&words("a dog"), &[words("the cat")]), 0.0);
        assert_eq!(rouge_l(&words(""), &[words("the cat")]), 0.0);
        assert_eq!(rouge_l(&words("a dog"), &[] as &[Vec<&str>]), 0.0);
        assert_eq!(rouge_l(&words(""), &[words("")]), 1.0);
    }

    #[test]
    fn the_common_run_is_as_long_as_what_is_counted_and_stands_in_both() {
        for (one, other) in [
            ("a dog runs on grass", "the dog on the green grass"),
            ("a b c a b c", "c b a c b a"),
            ("x y", "a b"),
            ("", "a"),
            ("the the the", "the"),
        ] {
            let (one, other) = (words(one), words(other));
            let run = longest_common_run(&one, &other);
            assert_eq!(run.len(), longest_common_subsequence(&one, &other), "{one:?} {other:?}");
            assert!(run.is_sorted_by(|place, next| place < next), "{run:?}");
            let mut rest = other.iter();
            assert!(run.iter().all(|&place| rest.any(|word| *word == one[place])), "{run:?}");
        }
    }
}

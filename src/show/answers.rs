//! Self-checking exercises.

use super::table::Table;

/// Accepted difference: four digits are enough.
const TOLERANCE: f64 = 1e-4;

/// A table of the answers to an exercise beside the right ones. A case is its name, the answer given, and the right answer.
///
/// ```
/// let answers = captionlab::show::answers("What is a half?", &[("1/2", 0.5, 0.5), ("2/4", 0.0, 0.5)]);
/// assert_eq!(answers.caption, "What is a half? 1 of 2 right");
/// assert_eq!(answers.rows[1], ["2/4", "0.0000", "0.5000", "not yet"]);
/// ```
pub fn answers(question: &str, cases: &[(&str, f64, f64)]) -> Table {
    let is_right = |yours: f64, right: f64| (yours - right).abs() <= TOLERANCE * right.abs().max(1.0);
    let count = cases.iter().filter(|(_, yours, right)| is_right(*yours, *right)).count();
    let caption = format!("{question} {count} of {} right", cases.len());
    let mut table = Table::new(caption, ["case", "yours", "right", ""]);
    for (case, yours, right) in cases {
        let verdict = if is_right(*yours, *right) { "right" } else { "not yet" };
        table.push([case.to_string(), format!("{yours:.4}"), format!("{right:.4}"), verdict.to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_to_four_digits_and_never_when_it_is_no_number() {
        let verdict = |yours, right| answers("?", &[("case", yours, right)]).rows[0][3].clone();
        for (yours, right, expected) in [
            (0.60653, 0.606530659, "right"),
            (0.6, 0.606530659, "not yet"),
            (1234.5, 1234.45, "right"),
            (f64::NAN, 1.0, "not yet"),
            (f64::INFINITY, 1.0, "not yet"),
        ] {
            assert_eq!(verdict(yours, right), expected, "{yours} for {right}");
        }
    }
}

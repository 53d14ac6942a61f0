//! Hypotheses of a beam as a tree.

use super::canvas::Align;
use super::chart::{Frame, WIDTH};
use super::figure::{Figure, headed, one_paragraph};
use super::style::{Ink, MARGIN, Mark};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// Height of a hypothesis.
const ROW: f32 = 54.0;

/// Smallest and largest size of letters.
const SIZES: (f32, f32) = (12.0, 24.0);

/// Space before and after a word, relative to the size of its letters.
const GAP: f32 = 0.6;

/// A word in the tree, with what comes after it.
#[derive(Debug, Default)]
struct Node {
    word: String,
    children: Vec<Node>,
    /// The hypothesis that ends here.
    hypothesis: Option<usize>,
    /// Where it is drawn, in rows.
    row: f32,
}

impl Node {
    fn insert(&mut self, words: &[String], hypothesis: usize) {
        let Some((first, rest)) = words.split_first() else {
            self.hypothesis = Some(hypothesis);
            return;
        };
        let place = self.children.iter().position(|child| child.word == *first).unwrap_or_else(|| {
            self.children.push(Node { word: first.clone(), ..Node::default() });
            self.children.len() - 1
        });
        self.children[place].insert(rest, hypothesis);
    }

    /// Gives each hypothesis a row, from `next` on, and each word the middle of what comes after it.
    fn place(&mut self, next: &mut f32) {
        let mut rows = Vec::new();
        if self.hypothesis.is_some() {
            rows.push(*next);
            *next += 1.0;
        }
        for child in &mut self.children {
            child.place(next);
            rows.push(child.row);
        }
        self.row = rows.iter().sum::<f32>() / rows.len().max(1) as f32;
    }
}

/// Draws hypotheses as a tree: what they begin with in common stands once. Behind each is its log probability; that of the first, the
/// best, is bold.
///
/// ```
/// use captionlab::show::hypothesis_tree;
/// let hypotheses = [("a dog runs", -1.2), ("a dog sits", -2.5), ("a puppy runs", -3.0)];
/// let figure = hypothesis_tree("What a beam has found", &hypotheses)?;
/// assert_eq!(
///     figure.alternative,
///     "Tree of hypotheses: What a beam has found. a dog runs (−1.20). a dog sits (−2.50). a puppy runs (−3.00)."
/// );
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without hypotheses, and for one that is too long for a line.
pub fn hypothesis_tree<S: AsRef<str>>(title: &str, hypotheses: &[(S, f64)]) -> Result<Figure> {
    if hypotheses.is_empty() {
        return Err(Error::argument("there are no hypotheses to draw", "Give at least one."));
    }
    let mut root = Node::default();
    for (number, (text, _)) in hypotheses.iter().enumerate() {
        let words: Vec<String> = text.as_ref().split_whitespace().map(str::to_string).collect();
        root.insert(&words, number);
    }
    root.place(&mut 0.0);
    let frame = Frame { title, notes: Vec::new(), legend: Vec::new() };
    let mut sheet = frame.sheet(ROW * hypotheses.len() as f32 + MARGIN)?;
    let scores: Vec<String> = hypotheses.iter().map(|(_, score)| format!("{score:.2}").replace('-', "−")).collect();

    let typeface = &sheet.canvas.typeface;
    let room = WIDTH - 2.0 * MARGIN;
    let widths = |size: f32| columns(&root, typeface, TextStyle::regular(size));
    let needed = |size: f32| {
        let score = scores.iter().map(|score| typeface.width(score, TextStyle::bold(size))).fold(0.0, f32::max);
        widths(size).iter().sum::<f32>() + score + 2.0 * GAP * size
    };
    let steps = (SIZES.1 - SIZES.0) as usize;
    let size = (0..=steps).map(|less| SIZES.1 - less as f32).find(|size| needed(*size) <= room).ok_or_else(|| {
        Error::argument("a hypothesis is too long for a line of the figure", "Let captions have fewer words.")
    })?;
    let mut left = vec![MARGIN];
    for width in widths(size) {
        left.push(left[left.len() - 1] + width);
    }
    let drawing = Drawing { left, top: sheet.top, size, scores: &scores };
    root.children.iter().for_each(|child| drawing.draw(child, 0, &mut sheet.canvas));
    let described = hypotheses.iter().zip(&scores).map(|((text, _), score)| format!(" {} ({score}).", text.as_ref()));
    sheet.finish(&one_paragraph(&format!("{}{}", headed("Tree of hypotheses", title), described.collect::<String>())))
}

/// The width of the words of each depth, with the space around them.
fn columns(root: &Node, typeface: &Typeface, look: TextStyle) -> Vec<f32> {
    let mut widths = Vec::new();
    let mut level: Vec<&Node> = root.children.iter().collect();
    while !level.is_empty() {
        let widest = level.iter().map(|node| typeface.width(&node.word, look)).fold(0.0, f32::max);
        widths.push(widest + 2.0 * GAP * look.size);
        level = level.into_iter().flat_map(|node| &node.children).collect();
    }
    widths
}

struct Drawing<'a> {
    /// Where the words of each depth begin, and the end of the last.
    left: Vec<f32>,
    top: f32,
    size: f32,
    scores: &'a [String],
}

impl Drawing<'_> {
    fn middle(&self, node: &Node) -> f32 {
        self.top + ROW * (node.row + 0.5)
    }

    fn draw(&self, node: &Node, depth: usize, canvas: &mut super::canvas::Canvas) {
        let look = TextStyle::regular(self.size);
        let gap = GAP * self.size;
        let (x, y) = (self.left[depth] + gap, self.middle(node));
        let baseline = y + Typeface::cap_height(look) / 2.0;
        canvas.text(&node.word, (x, baseline), Align::Left, look, Ink::TEXT);
        let end = x + canvas.typeface.width(&node.word, look);
        for child in &node.children {
            let (from, to) = ((end + 0.3 * gap, y), (self.left[depth + 1] + 0.7 * gap, self.middle(child)));
            canvas.line(&[from, to], 2.0, None, Mark::new(0).ink());
            self.draw(child, depth + 1, canvas);
        }
        if let Some(number) = node.hypothesis {
            let look = if number == 0 { TextStyle::bold(self.size) } else { look };
            // A hypothesis that others go on from has its number above the line.
            let above = if node.children.is_empty() { 0.0 } else { self.size };
            canvas.text(&self.scores[number], (end + gap, baseline - above), Align::Left, look, Mark::new(0).ink());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_beginnings_stand_once_and_each_hypothesis_has_its_row() {
        let mut root = Node::default();
        for (number, text) in ["a dog runs", "a cat", "a dog", "the dog runs"].iter().enumerate() {
            root.insert(&text.split(' ').map(str::to_string).collect::<Vec<_>>(), number);
        }
        root.place(&mut 0.0);
        let words = |node: &Node| node.children.iter().map(|child| child.word.clone()).collect::<Vec<_>>();
        assert_eq!(
            (words(&root), words(&root.children[0])),
            (vec!["a".into(), "the".into()], vec!["dog".into(), "cat".into()])
        );
        let dog = &root.children[0].children[0];
        assert_eq!((dog.hypothesis, dog.children[0].hypothesis), (Some(2), Some(0)));
        let rows = [dog.children[0].row, dog.row, root.children[0].children[1].row, root.children[1].row];
        assert_eq!(rows, [1.0, 0.5, 2.0, 3.0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        assert!(hypothesis_tree::<&str>("", &[]).is_err());
        let long = ["extraordinarily"; 40].join(" ");
        assert!(hypothesis_tree("", &[(long, -1.0)]).unwrap_err().to_string().contains("too long"));
        assert!(hypothesis_tree("", &[("", -1.0), ("a", -2.0)]).is_ok());
    }
}

//! Bars of progress in a terminal.

use std::io::IsTerminal;

use captionlab::train::{Phase, Run};
use captionlab::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::warn;

/// A bar of progress, which is seen in terminals only and goes away when it is dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that looks like `template`, in which `{bar:30}` is the bar and `{msg}` the message.
    pub fn new(template: &str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(1).with_style(style))
    }

    /// Shows how far it has come; a bar of length 0 would be full.
    pub fn at(&self, done: u64, total: u64, message: impl ToString) {
        self.0.set_length(total.max(1));
        self.0.set_position(done);
        self.0.set_message(message.to_string());
    }

    /// Says something while the bar is shown, after a pause that says nothing about the pace.
    pub fn interrupt(&self, message: impl std::fmt::Display) {
        self.0.suspend(|| warn(message));
        self.0.reset_eta();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Waits for a run with a bar of progress, or lines of it where there is no terminal, and tells its notes and last samples.
pub fn wait(mut run: Run, tell: fn(String) -> Result<()>) -> Result<()> {
    if std::io::stdout().is_terminal() {
        let bar = Bar::new("{wide_bar}\n{msg}");
        while run.is_running() {
            let status = run.status();
            let (done, total) = match status.phase {
                Phase::Preparing { done, total } => (done as u64, total as u64),
                _ => (status.epoch.saturating_sub(1) * status.steps + status.step, status.epochs * status.steps),
            };
            bar.at(done, total, status);
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
    // A training is not lost because its lines cannot be printed.
    let result = run.wait_with(|status| tell(status.to_string()).unwrap_or_default());
    let mut lines = run.notes();
    if let (Ok(()), Some(epoch)) = (&result, run.samples().last()) {
        lines.extend(epoch.samples.iter().map(|sample| format!("{}: {}", sample.name, sample.text)));
    }
    lines.into_iter().try_for_each(tell).unwrap_or_else(|problem: Error| warn(&problem));
    result
}

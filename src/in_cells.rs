//! What a bare name shows as the last expression of a notebook cell.

/// Shows a value as its `Display` does, where a notebook would print all that it holds.
macro_rules! shown_in_cells {
    ($($type:ty),+ $(,)?) => {
        $(
            impl $type {
                /// Displays the value below the notebook cell. Notebooks call this for a cell's last expression.
                pub fn evcxr_display(&self) {
                    println!("{self}");
                }
            }
        )+
    };
}
pub(crate) use shown_in_cells;

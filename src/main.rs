//! The command line of captionlab.

fn main() {
    println!("captionlab {}", env!("CARGO_PKG_VERSION"));
}

//! The content of scenes: kinds, colours, sizes, actions, relations, backdrops.

use std::fmt;

/// Declares an enum whose variants all have an English name, shown by `Display`.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = concat!("The value `", $word, "`.")] $(#[$note])* $variant),+ }

        impl $name {
            /// All values, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The English name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}

named! {
    /// Kind of an object.
    Kind {
        Man => "man", Woman => "woman", Boy => "boy", Girl => "girl",
        Dog => "dog", Cat => "cat", Horse => "horse", Bird => "bird",
        Boat => "boat", House => "house", Tree => "tree", Car => "car",
        Kite => "kite", Ball => "ball", Umbrella => "umbrella", Balloon => "balloon",
        Flower => "flower", Chair => "chair",
    }
}

named! {
    /// Colour of an object: of a person's clothes, a house's walls, a boat's hull, a flower's petals.
    Colour {
        Red => "red", Orange => "orange", Yellow => "yellow", Green => "green", Blue => "blue",
        Purple => "purple", Pink => "pink", Brown => "brown", Black => "black", White => "white",
    }
}

named! {
    /// Setting of a scene.
    Backdrop {
        Meadow => "meadow", Sea => "sea", Desert => "desert", Snow => "snow", Night => "night", Room => "room",
    }
}

named! {
    /// Size of an object among its kind; distance shrinks objects too.
    Size { Small => "small", Medium => "medium", Big => "big" }
}

named! {
    /// Visible action of an object.
    Action {
        Stand => "stand", Walk => "walk", Run => "run", Jump => "jump", Sit => "sit", Sleep => "sleep", Wave => "wave",
        Fly => "fly",
        /// In the air without wings: balloons.
        Float => "float",
        Sail => "sail",
        /// On the ground: balls.
        Lie => "lie",
        Park => "park", Drive => "drive",
        /// In a hand: flowers, umbrellas.
        Held => "held",
    }
}

named! {
    /// Relation of an object to another.
    Relation {
        LeftOf => "left of", RightOf => "right of",
        /// In the air over the other, overlapping horizontally.
        Above => "above",
        Below => "below",
        /// On the ground, nearer to the viewer, overlapping horizontally.
        InFrontOf => "in front of",
        Behind => "behind",
        NextTo => "next to",
        Holding => "holding", PlayingWith => "playing with",
    }
}

impl Kind {
    /// Men, women, boys and girls.
    pub fn is_person(self) -> bool {
        matches!(self, Self::Man | Self::Woman | Self::Boy | Self::Girl)
    }

    /// People and animals.
    pub fn is_alive(self) -> bool {
        self.is_person() || matches!(self, Self::Dog | Self::Cat | Self::Horse | Self::Bird)
    }
}

//! Who has which revision; conditions.

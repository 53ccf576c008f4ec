//! A request head and the snapshot become a route.

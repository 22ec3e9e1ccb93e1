//! An error with the attributes that NFS shows beside it.

use super::Attributes;

/// An error and the present attributes of the objects that the call names, in its order: the directory; a
/// rename's two directories; a link's object and directory. Their names and attributes were not changed by
/// the call.
#[derive(Debug)]
pub struct Failed<E> {
    /// Why.
    pub error: E,
    /// The first object, where known. Boxed: failures are rarer than answers.
    pub first: Option<Box<Attributes>>,
    /// The second object, where known.
    pub second: Option<Box<Attributes>>,
}

impl<E> Failed<E> {
    /// A failure that knows no object.
    #[must_use]
    pub fn alone(error: E) -> Self {
        Self { error, first: None, second: None }
    }

    /// A failure that knows the first object.
    #[must_use]
    pub fn of(error: impl Into<E>, first: &Attributes) -> Self {
        Self { error: error.into(), first: Some(Box::new(first.clone())), second: None }
    }

    /// A failure that knows both objects.
    #[must_use]
    pub fn of_both(error: impl Into<E>, first: &Attributes, second: &Attributes) -> Self {
        Self { second: Some(Box::new(second.clone())), ..Self::of(error, first) }
    }

    /// The same failure as a layer above says it.
    #[must_use]
    pub fn map<F>(self, above: impl FnOnce(E) -> F) -> Failed<F> {
        Failed { error: above(self.error), first: self.first, second: self.second }
    }
}

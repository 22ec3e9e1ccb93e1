//! Every order in which the parties of a model take their steps.

/// A model. Where nobody has a step to take, an order is at its end.
pub(super) trait World {
    type Step: Copy + std::fmt::Debug;

    fn steps(&self) -> Vec<Self::Step>;

    fn take(&mut self, step: Self::Step);

    /// Something has happened that must not.
    fn is_wrong(&self) -> bool;
}

/// Takes all orders of steps, each from a new world, and shows the world at the end of each: how many orders
/// there are, or one that is wrong.
pub(super) fn explore<W: World>(
    new: impl Fn() -> W,
    mut at_end: impl FnMut(&W),
) -> Result<usize, Vec<W::Step>> {
    let mut runs = 0;
    // The choices of the order before, each with the number of those there were.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let mut world = new();
        let mut order = Vec::new();
        for depth in 0.. {
            let steps = world.steps();
            if steps.is_empty() {
                break;
            }
            if depth == path.len() {
                path.push((0, steps.len()));
            }
            let step = steps[path[depth].0];
            order.push(step);
            world.take(step);
            if world.is_wrong() {
                return Err(order);
            }
        }
        runs += 1;
        at_end(&world);
        while let Some((choice, of)) = path.pop() {
            if choice + 1 < of {
                path.push((choice + 1, of));
                break;
            }
        }
        if path.is_empty() {
            return Ok(runs);
        }
    }
}

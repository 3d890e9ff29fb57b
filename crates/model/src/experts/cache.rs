//! Which experts to keep: the often used; among equals, those whose layer comes again first.
//!
//! The layers of a model pass in a circle, so what was used longest ago is what is needed soonest,
//! and an LRU cache smaller than a token's experts never hits. Heat that ages keeps the experts
//! that many tokens choose, whatever lies between them.

/// What one use adds to an expert's heat: a power of two, so that ageing halves it exactly.
const HEAT: u32 = 1 << 8;
/// Steps after which all heat is halved.
const STEPS_AN_AGE: usize = 64;

/// An expert of one of the layers that share a cache: place of the layer · E + expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) usize);

/// Which slot holds which expert.
pub(super) struct Cache {
    n_experts: usize,
    n_layers: usize,
    slots: Vec<Option<Key>>,
    /// Of each key.
    slot_of: Vec<Option<u32>>,
    heat: Vec<u32>,
    /// Slots whose experts must stay for now.
    pinned: Vec<bool>,
    n_steps: usize,
}

impl Cache {
    pub(super) fn new(n_slots: usize, n_layers: usize, n_experts: usize) -> Cache {
        let n_keys = n_layers * n_experts;
        Cache {
            n_experts,
            n_layers,
            slots: vec![None; n_slots],
            slot_of: vec![None; n_keys],
            heat: vec![0; n_keys],
            pinned: vec![false; n_slots],
            n_steps: 0,
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<usize> {
        self.slot_of[key.0].map(|slot| slot as usize)
    }

    /// Notes that a step uses an expert.
    pub(super) fn touch(&mut self, key: Key) {
        self.heat[key.0] = self.heat[key.0].saturating_add(HEAT);
    }

    /// Notes that another step has begun.
    pub(super) fn age(&mut self) {
        self.n_steps += 1;
        if self.n_steps.is_multiple_of(STEPS_AN_AGE) {
            self.heat.iter_mut().for_each(|heat| *heat /= 2);
        }
    }

    /// Lets go of all pinned slots.
    pub(super) fn unpin(&mut self) {
        self.pinned.fill(false);
    }

    /// A slot for an expert that is in none, pinned; the expert that it held is out. None if all
    /// slots are pinned.
    pub(super) fn claim(&mut self, key: Key) -> Option<usize> {
        debug_assert!(self.find(key).is_none(), "an expert has one slot");
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.or_else(|| self.victim(key.0 / self.n_experts))?;
        if let Some(old) = self.slots[slot].replace(key) {
            self.slot_of[old.0] = None;
        }
        self.slot_of[key.0] = Some(slot as u32);
        self.pinned[slot] = true;
        Some(slot)
    }

    /// The coldest slot; of equals, the one whose layer is the furthest ahead of layer `now`.
    fn victim(&self, now: usize) -> Option<usize> {
        let unpinned = (0..self.slots.len()).filter(|&slot| !self.pinned[slot]);
        unpinned.min_by_key(|&slot| {
            let key = self.slots[slot].expect("claim looked for free slots first");
            // The layer itself was just now: it is the last to come again.
            let ahead =
                (key.0 / self.n_experts + self.n_layers - now + self.n_layers - 1) % self.n_layers;
            (self.heat[key.0], usize::MAX - ahead)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of hits over steps that use, layer by layer, the experts that `chosen` says.
    fn hit_rate(
        cache: &mut Cache,
        steps: usize,
        chosen: impl Fn(usize, usize) -> Vec<usize>,
    ) -> f64 {
        let (mut hits, mut uses) = (0, 0);
        for step in 0..steps {
            cache.age();
            for layer in 0..cache.n_layers {
                cache.unpin();
                for expert in chosen(step, layer) {
                    let key = Key(layer * cache.n_experts + expert);
                    cache.touch(key);
                    uses += 1;
                    match cache.find(key) {
                        Some(_) => hits += 1,
                        None => _ = cache.claim(key).unwrap(),
                    }
                }
            }
        }
        f64::from(hits) / f64::from(uses)
    }

    #[test]
    fn a_circle_longer_than_the_cache_hits_as_often_as_the_cache_is_long() {
        // Ten layers use the same two experts each time: twenty, in room for ten. LRU never hits.
        let mut cache = Cache::new(10, 10, 8);
        let rate = hit_rate(&mut cache, 100, |_, _| vec![3, 5]);
        assert!((0.35..=0.5).contains(&rate), "{rate}");
    }

    #[test]
    fn what_is_used_often_stays() {
        // Expert 0 in each step, one of the seven others in turn: room for two of eight a layer.
        let mut cache = Cache::new(8, 4, 8);
        let rate = hit_rate(&mut cache, 200, |step, layer| vec![0, 1 + (step + layer) % 7]);
        assert!(rate > 0.49, "{rate}");
    }

    #[test]
    fn old_heat_gives_way_to_new() {
        let mut cache = Cache::new(1, 1, 2);
        hit_rate(&mut cache, 1000, |_, _| vec![0]);
        assert!(cache.find(Key(0)).is_some());
        hit_rate(&mut cache, 3 * STEPS_AN_AGE, |_, _| vec![1]);
        assert!(cache.find(Key(1)).is_some());
    }

    #[test]
    fn a_pinned_expert_stays() {
        let mut cache = Cache::new(2, 1, 4);
        let first = cache.claim(Key(0)).unwrap();
        let second = cache.claim(Key(1)).unwrap();
        assert_ne!(first, second);
        assert_eq!(cache.claim(Key(2)), None);
        cache.unpin();
        cache.touch(Key(0));
        assert_eq!(cache.claim(Key(3)), Some(second));
        assert_eq!((cache.find(Key(1)), cache.find(Key(0))), (None, Some(first)));
    }
}

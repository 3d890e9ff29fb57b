//! The cache against a plain map from every stored prefix to its page.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use ruminate_schedule::{Cache, PageId};
use std::collections::BTreeMap;

const PAGE_LEN: usize = 2;

/// A page's salt, and all tokens up to its end.
type Prefix = (u64, Vec<u32>);

#[derive(Clone, Debug)]
enum Action {
    /// Match, compute what is missing, store it, and keep holding it.
    Run { salt: u64, tokens: Vec<u32> },
    /// Let go of a held table.
    Release(usize),
    /// Hold a table twice.
    Fork(usize),
    /// Let go of the pages after a position, store again what follows.
    Rewrite { table: usize, keep: usize, token: u32 },
    /// Free the stored pages after a position.
    Forget { salt: u64, tokens: Vec<u32>, keep: usize },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let tokens = || proptest::collection::vec(0..2u32, 0..12);
    let action = prop_oneof![
        4 => (0..2u64, tokens()).prop_map(|(salt, tokens)| Action::Run { salt, tokens }),
        3 => any::<usize>().prop_map(Action::Release),
        1 => any::<usize>().prop_map(Action::Fork),
        1 => (any::<usize>(), 0..12usize, 0..2u32)
            .prop_map(|(table, keep, token)| Action::Rewrite { table, keep, token }),
        1 => (Just(0), tokens(), 0..12usize)
            .prop_map(|(salt, tokens, keep)| Action::Forget { salt, tokens, keep }),
    ];
    proptest::collection::vec(action, 1..60)
}

struct Table {
    salt: u64,
    tokens: Vec<u32>,
    pages: Vec<PageId>,
}

/// The cache under test beside what every page was filled with.
struct Pair {
    cache: Cache,
    /// What was written to a page last. (pages_max)
    contents: Vec<Option<Prefix>>,
    /// Every prefix that was stored, to the page it was stored in last.
    stored: BTreeMap<Prefix, PageId>,
    tables: Vec<Table>,
}

impl Pair {
    fn new(pages_max: usize) -> Pair {
        Pair {
            cache: Cache::new(pages_max, PAGE_LEN),
            contents: vec![None; pages_max],
            stored: BTreeMap::new(),
            tables: Vec::new(),
        }
    }

    fn act(&mut self, action: Action) {
        let n_tables = self.tables.len();
        match action {
            Action::Run { salt, tokens } => {
                let mut table = Table { salt, tokens, pages: Vec::new() };
                self.cache.match_prefix(salt, &table.tokens, &mut table.pages);
                self.judge(&table);
                let from = table.pages.len() * PAGE_LEN;
                self.write(table, from);
            }
            Action::Release(index) if n_tables > 0 => {
                let mut table = self.tables.swap_remove(index % n_tables);
                self.cache.release(&mut table.pages);
            }
            Action::Fork(index) if n_tables > 0 => {
                let Table { salt, tokens, pages } = &self.tables[index % n_tables];
                let pages = self.cache.fork(pages);
                self.tables.push(Table { salt: *salt, tokens: tokens.clone(), pages });
            }
            Action::Rewrite { table, keep, token } if n_tables > 0 => {
                let mut table = self.tables.swap_remove(table % n_tables);
                let keep = keep.min(table.tokens.len());
                table.tokens.truncate(keep);
                self.cache.truncate(&mut table.pages, keep);
                table.tokens.extend([token, token]);
                self.write(table, keep);
            }
            Action::Forget { salt, tokens, keep } => {
                self.cache.forget(salt, &tokens, keep);
                let mut found = Vec::new();
                self.cache.match_prefix(salt, &tokens, &mut found);
                let held = |page| self.tables.iter().any(|table| table.pages.contains(page));
                // What is left after `keep` is held, or leads to something else.
                for (index, page) in found.iter().enumerate().skip(keep.div_ceil(PAGE_LEN)) {
                    let prefix = &tokens[..(index + 1) * PAGE_LEN];
                    let leads = self.stored.keys().any(|(other_salt, other)| {
                        *other_salt == salt
                            && other.len() > prefix.len()
                            && other.starts_with(prefix)
                    });
                    assert!(held(page) || leads, "{page:?} was not forgotten");
                }
                self.cache.release(&mut found);
            }
            _ => {}
        }
        self.cache.check(self.tables.iter().map(|table| table.pages.as_slice()));
        self.drop_evicted();
    }

    /// Computes the tokens from `from` on and stores them; without pages, the table is let go.
    fn write(&mut self, mut table: Table, from: usize) {
        let mut copies = Vec::new();
        let before = table.pages.clone();
        let end = table.tokens.len();
        if !self.cache.reserve(&mut table.pages, from..end, &mut copies) {
            assert_eq!(table.pages, before, "a refusal changed the table");
            let n_new = end.div_ceil(PAGE_LEN) - before.len();
            assert!(self.cache.n_available() <= n_new, "refused with pages to spare");
            self.cache.release(&mut table.pages);
            return;
        }
        for &page in &table.pages[from / PAGE_LEN..] {
            assert!(self.cache.is_private(page));
        }
        for index in from / PAGE_LEN..end.div_ceil(PAGE_LEN) {
            let prefix = table.tokens[..end.min((index + 1) * PAGE_LEN)].to_vec();
            self.contents[table.pages[index].index()] = Some((table.salt, prefix));
        }
        self.cache.commit(table.salt, &table.tokens, &mut table.pages);
        for (index, &page) in table.pages.iter().enumerate().take(end / PAGE_LEN) {
            let prefix = (table.salt, table.tokens[..(index + 1) * PAGE_LEN].to_vec());
            assert_eq!(self.contents[page.index()].as_ref(), Some(&prefix));
            self.stored.insert(prefix, page);
        }
        self.tables.push(table);
    }

    /// A match is the longest prefix in the map, in the very pages.
    fn judge(&self, table: &Table) {
        for (index, &page) in table.pages.iter().enumerate() {
            let prefix = (table.salt, table.tokens[..(index + 1) * PAGE_LEN].to_vec());
            assert_eq!(self.contents[page.index()].as_ref(), Some(&prefix), "a stranger's page");
            assert_eq!(self.stored.get(&prefix), Some(&page), "not the stored page");
        }
        let next = (table.pages.len() + 1) * PAGE_LEN;
        if let Some(tokens) = table.tokens.get(..next) {
            let prefix = (table.salt, tokens.to_vec());
            assert!(!self.stored.contains_key(&prefix), "a longer prefix was stored");
        }
    }

    /// Asks which prefixes are still stored, without holding them.
    fn drop_evicted(&mut self) {
        let cache = &mut self.cache;
        self.stored.retain(|(salt, tokens), page| {
            let mut found = Vec::new();
            cache.match_prefix(*salt, tokens, &mut found);
            let stored = found.len() * PAGE_LEN == tokens.len();
            assert!(!stored || found.last() == Some(page), "a prefix changed its page");
            cache.release(&mut found);
            stored
        });
    }
}

proptest! {
    #[test]
    fn the_cache_finds_what_a_plain_map_finds(actions in actions(), pages_max in 1..24usize) {
        let mut pair = Pair::new(pages_max);
        for action in actions {
            pair.act(action);
        }
        for mut table in std::mem::take(&mut pair.tables) {
            pair.cache.release(&mut table.pages);
        }
        pair.cache.check(std::iter::empty());
        assert_eq!(pair.cache.n_available(), pages_max);
    }

    #[test]
    fn nothing_is_forgotten_while_the_pool_has_room(actions in actions()) {
        // 60 actions of at most 7 pages and a copy each.
        let mut pair = Pair::new(500);
        for action in actions {
            let forgets = matches!(action, Action::Forget { .. } | Action::Rewrite { .. });
            let before = pair.stored.len();
            pair.act(action);
            assert!(forgets || pair.stored.len() >= before, "a stored prefix was lost");
        }
        assert_eq!(pair.cache.n_evicted(), 0);
    }
}

//! A radix tree over runs of whole pages: which tokens each stored page holds.
//!
//! ```text
//! salt 7 ── [ "You are" | " a poet" ] ─┬─ [ "Write a" ]                 one page per cell,
//!                                      └─ [ "Sing of" | " the sea" ]    one node per run
//! ```
//!
//! Keys are the tokens themselves, so two prefixes never collide, and a salt a root, so that no
//! prefix is found under a foreign one. A sequence that holds a page of the tree holds all pages
//! above it: pages that no sequence holds are always at the ends, where they can be evicted.

use crate::pages::{PageId, Pages};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

#[derive(Debug)]
struct Node {
    salt: u64,
    /// None for the root of a salt, whose run is empty.
    parent: Option<NodeId>,
    /// (pages, P), flat
    tokens: Vec<u32>,
    pages: Vec<PageId>,
    /// By the tokens of the child's first page. (P)
    children: BTreeMap<Box<[u32]>, NodeId>,
    /// When it was last matched, stored or released, on the cache's own counter.
    used: u64,
    /// Whether it is in `PrefixTree::idle`.
    listed: bool,
}

/// How far a walk came: the first `within` pages of the run of `node`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    node: NodeId,
    within: usize,
}

#[derive(Debug)]
pub(crate) struct PrefixTree {
    page_len: usize,
    nodes: Vec<Option<Node>>,
    spare: Vec<NodeId>,
    roots: BTreeMap<u64, NodeId>,
    /// The node that stores a page. (pages_max)
    owners: Vec<Option<NodeId>>,
    /// Leaves whose last page only the tree holds, least recently used first.
    idle: BTreeSet<(u64, NodeId)>,
}

impl PrefixTree {
    pub(crate) fn new(page_len: usize, pages_max: usize) -> PrefixTree {
        PrefixTree {
            page_len,
            nodes: Vec::new(),
            spare: Vec::new(),
            roots: BTreeMap::new(),
            owners: vec![None; pages_max],
            idle: BTreeSet::new(),
        }
    }

    /// Whether the tree stores this page.
    pub(crate) fn stores(&self, page: PageId) -> bool {
        self.owners[page.index()].is_some()
    }

    /// Whether nothing is stored after this page.
    pub(crate) fn is_end(&self, page: PageId) -> bool {
        self.owners[page.index()].is_some_and(|id| {
            let node = self.node(id);
            node.children.is_empty() && node.pages.last() == Some(&page)
        })
    }

    /// Appends to `found` the pages that store the longest prefix of `tokens`, whole pages only.
    pub(crate) fn find(&self, salt: u64, tokens: &[u32], found: &mut Vec<PageId>) -> Option<Place> {
        let mut id = *self.roots.get(&salt)?;
        let mut rest = tokens;
        while let Some(first) = rest.get(..self.page_len) {
            let Some(&child) = self.node(id).children.get(first) else { break };
            let run = self.node(child);
            let pairs = run.tokens.chunks_exact(self.page_len).zip(rest.chunks(self.page_len));
            let same = pairs.take_while(|(stored, asked)| stored == asked).count();
            found.extend(&run.pages[..same]);
            rest = &rest[same * self.page_len..];
            id = child;
            if same < run.pages.len() {
                return Some(Place { node: id, within: same });
            }
        }
        Some(Place { node: id, within: self.node(id).pages.len() })
    }

    /// Stores `pages` with their `tokens` (pages, P) after `place`, which [`Self::find`] returned
    /// for the tokens before them. The caller holds the pages for the tree.
    pub(crate) fn attach(
        &mut self,
        salt: u64,
        place: Option<Place>,
        tokens: &[u32],
        run: &[PageId],
        pages: &Pages,
    ) {
        assert_eq!(tokens.len(), run.len() * self.page_len, "tokens and pages differ in length");
        let Place { node: above, within } = place.unwrap_or_else(|| self.plant(salt));
        if within < self.node(above).pages.len() {
            self.split(above, within, pages);
        }
        let node = self.node_mut(above);
        let owner = if node.parent.is_some() && node.children.is_empty() {
            node.tokens.extend_from_slice(tokens);
            node.pages.extend_from_slice(run);
            above
        } else {
            let (tokens, run, used) = (tokens.to_vec(), run.to_vec(), node.used);
            let child = self.add(salt, Some(above), tokens, run, used);
            self.link(above, child);
            self.relist(above, pages);
            child
        };
        for page in run {
            self.owners[page.index()] = Some(owner);
        }
        self.relist(owner, pages);
    }

    /// Takes the last page of a run out of the tree. The caller lets go of it for the tree.
    ///
    /// Panics unless [`Self::is_end`].
    pub(crate) fn detach(&mut self, page: PageId, pages: &Pages) {
        assert!(self.is_end(page), "{page:?} is not at an end of the tree");
        let id = self.owners[page.index()].take().expect("an end is stored");
        let page_len = self.page_len;
        let node = self.node_mut(id);
        node.pages.pop();
        if node.pages.is_empty() {
            self.remove(id, pages);
        } else {
            node.tokens.truncate(node.pages.len() * page_len);
            self.relist(id, pages);
        }
    }

    /// The last page of the leaf that was used longest ago, of those that only the tree holds.
    pub(crate) fn oldest_idle(&self) -> Option<PageId> {
        let &(_, id) = self.idle.first()?;
        self.node(id).pages.last().copied()
    }

    /// Marks the run that stores `page` as used at `now`, on the cache's counter.
    pub(crate) fn touch(&mut self, page: PageId, now: u64) {
        let Some(id) = self.owners[page.index()] else { return };
        let node = self.node_mut(id);
        if node.used == now {
            return;
        }
        let before = std::mem::replace(&mut node.used, now);
        if node.listed {
            self.idle.remove(&(before, id));
            self.idle.insert((now, id));
        }
    }

    /// Decides anew whether the run that stores `page` can be evicted, after its count changed.
    pub(crate) fn recount(&mut self, page: PageId, pages: &Pages) {
        if let Some(id) = self.owners[page.index()] {
            self.relist(id, pages);
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("a linked node exists")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("a linked node exists")
    }

    fn plant(&mut self, salt: u64) -> Place {
        let node = self.add(salt, None, Vec::new(), Vec::new(), 0);
        self.roots.insert(salt, node);
        Place { node, within: 0 }
    }

    fn add(
        &mut self,
        salt: u64,
        parent: Option<NodeId>,
        tokens: Vec<u32>,
        pages: Vec<PageId>,
        used: u64,
    ) -> NodeId {
        let children = BTreeMap::new();
        let node = Some(Node { salt, parent, tokens, pages, children, used, listed: false });
        if let Some(id) = self.spare.pop() {
            self.nodes[id.0 as usize] = node;
            return id;
        }
        self.nodes.push(node);
        NodeId(u32::try_from(self.nodes.len() - 1).expect("fewer nodes than pages and salts"))
    }

    /// The key of a node among its parent's children.
    fn key(&self, id: NodeId) -> &[u32] {
        &self.node(id).tokens[..self.page_len]
    }

    fn link(&mut self, parent: NodeId, child: NodeId) {
        let key = Box::from(self.key(child));
        let before = self.node_mut(parent).children.insert(key, child);
        assert!(before.is_none(), "two children of a node begin with the same page");
    }

    /// Cuts a run after `within` pages: the rest, and the children, go to a new node below.
    fn split(&mut self, above: NodeId, within: usize, pages: &Pages) {
        let cut = within * self.page_len;
        let node = self.node_mut(above);
        let (salt, used) = (node.salt, node.used);
        let (tokens, run) = (node.tokens.split_off(cut), node.pages.split_off(within));
        let children = std::mem::take(&mut node.children);
        let below = self.add(salt, Some(above), tokens, Vec::new(), used);
        for &child in children.values() {
            self.node_mut(child).parent = Some(below);
        }
        for page in &run {
            self.owners[page.index()] = Some(below);
        }
        let node = self.node_mut(below);
        (node.children, node.pages) = (children, run);
        self.link(above, below);
        self.relist(above, pages);
        self.relist(below, pages);
    }

    /// Removes a node whose last page has gone, and its root with the last child.
    fn remove(&mut self, id: NodeId, pages: &Pages) {
        self.unlist(id);
        let node = self.nodes[id.0 as usize].take().expect("a linked node exists");
        self.spare.push(id);
        let parent = node.parent.expect("roots have no pages to lose");
        let key = &node.tokens[..self.page_len];
        self.node_mut(parent).children.remove(key);
        let above = self.node(parent);
        if above.parent.is_none() && above.children.is_empty() {
            self.roots.remove(&node.salt);
            self.nodes[parent.0 as usize] = None;
            self.spare.push(parent);
        } else {
            self.relist(parent, pages);
        }
    }

    fn unlist(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if std::mem::take(&mut node.listed) {
            let key = (node.used, id);
            self.idle.remove(&key);
        }
    }

    fn relist(&mut self, id: NodeId, pages: &Pages) {
        self.unlist(id);
        let node = self.node_mut(id);
        let idle = node.pages.last().is_some_and(|&page| pages.count(page) == 1);
        if idle && node.children.is_empty() {
            node.listed = true;
            let key = (node.used, id);
            self.idle.insert(key);
        }
    }

    /// Panics unless links, keys, owners and the idle list agree; calls `each` for every page.
    pub(crate) fn check(&self, pages: &Pages, mut each: impl FnMut(PageId)) {
        let mut n_owned = 0;
        let mut n_nodes = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let id = NodeId(index as u32);
            n_nodes += 1;
            assert_eq!(node.tokens.len(), node.pages.len() * self.page_len, "a run lost tokens");
            match node.parent {
                Some(parent) => {
                    assert!(!node.pages.is_empty(), "an empty run stayed in the tree");
                    let link = self.node(parent).children.get(self.key(id));
                    assert_eq!(link, Some(&id), "a parent does not know its child");
                    assert_eq!(self.node(parent).salt, node.salt, "a run crossed salts");
                }
                None => {
                    assert!(node.pages.is_empty(), "a root has pages");
                    assert!(!node.children.is_empty(), "an empty root stayed in the tree");
                    assert_eq!(self.roots.get(&node.salt), Some(&id), "a root is not listed");
                }
            }
            let counts: Vec<u32> = node.pages.iter().map(|&page| pages.count(page)).collect();
            assert!(counts.is_sorted_by(|a, b| a >= b), "a page is held without its prefix");
            let idle = node.children.is_empty() && counts.last() == Some(&1);
            assert_eq!(node.listed, idle, "{id:?} is listed wrongly");
            assert_eq!(self.idle.contains(&(node.used, id)), idle, "{id:?} is listed wrongly");
            for &page in &node.pages {
                assert_eq!(self.owners[page.index()], Some(id), "{page:?} has another owner");
                n_owned += 1;
                each(page);
            }
        }
        assert_eq!(self.owners.iter().flatten().count(), n_owned, "an owner stores no such page");
        assert_eq!(self.nodes.len(), n_nodes + self.spare.len(), "a node was lost");
        assert!(self.idle.len() <= n_nodes, "a removed node is still listed");
    }
}

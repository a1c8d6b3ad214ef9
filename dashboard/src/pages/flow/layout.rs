//! Where the jobs and signals of a flow are drawn: in columns from left to right, each to the right of what it waits for.

/// The size of a job or a signal.
pub const BOX_WIDTH: i32 = 176;
pub const BOX_HEIGHT: i32 = 46;

/// The room that a line takes that passes a column.
const LINE_HEIGHT: i32 = 10;
const GAP_BETWEEN_COLUMNS: i32 = 60;
const GAP_IN_COLUMN: i32 = 16;
const MARGIN: i32 = 12;

/// How often the order in the columns is improved.
const SWEEPS: usize = 4;

/// Places at which lines pass columns, at most. Lines beyond are drawn straight from one end to the other.
const PASSES_MAX: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub x: i32,
    pub y: i32,
}

/// A drawing without its texts.
pub struct Layout {
    pub width: i32,
    pub height: i32,
    /// The upper left corner of each node.
    pub corners: Vec<Point>,
    /// For each edge the points of its line: where it leaves a column and where it reaches the next one, in turns.
    pub lines: Vec<Vec<Point>>,
}

/// Lays out `nodes` nodes and the edges between them, which are pairs of their numbers. The `last` ones are on the right of all
/// others.
pub fn layout(nodes: usize, edges: &[(usize, usize)], last: &[usize]) -> Layout {
    let column_of = columns_of(nodes, edges, last);
    let mut graph = Graph::new(column_of);
    let paths: Vec<Vec<usize>> = edges.iter().map(|edge| graph.connect(*edge)).collect();
    graph.sort();
    graph.draw(&paths)
}

/// The column of each node: one more than that of any node before it.
fn columns_of(nodes: usize, edges: &[(usize, usize)], last: &[usize]) -> Vec<usize> {
    let (mut column_of, mut awaited, mut after) = (vec![0; nodes], vec![0_usize; nodes], vec![Vec::new(); nodes]);
    for &(from, to) in edges {
        awaited[to] += 1;
        after[from].push(to);
    }
    // Nodes of a circle, of which a flow has none, are never free, and stay where they are.
    let mut free: Vec<usize> = (0..nodes).filter(|node| awaited[*node] == 0).collect();
    while let Some(node) = free.pop() {
        for &next in &after[node] {
            column_of[next] = column_of[next].max(column_of[node] + 1);
            awaited[next] -= 1;
            if awaited[next] == 0 {
                free.push(next);
            }
        }
    }
    let others = (0..nodes).filter(|node| !last.contains(node)).map(|node| column_of[node] + 1);
    let behind = others.max().unwrap_or(0);
    last.iter().for_each(|node| column_of[*node] = behind);
    column_of
}

/// The nodes, and the places at which lines pass columns, which follow the nodes in all lists.
struct Graph {
    nodes: usize,
    column_of: Vec<usize>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    columns: Vec<Vec<usize>>,
}

impl Graph {
    fn new(column_of: Vec<usize>) -> Self {
        let nodes = column_of.len();
        let mut columns = vec![Vec::new(); column_of.iter().max().map_or(0, |last| last + 1)];
        column_of.iter().enumerate().for_each(|(node, column)| columns[*column].push(node));
        Self { nodes, column_of, before: vec![Vec::new(); nodes], after: vec![Vec::new(); nodes], columns }
    }

    /// Adds an edge. Returns what its line touches: both ends, and a place in each column between them.
    fn connect(&mut self, (from, to): (usize, usize)) -> Vec<usize> {
        let mut path = vec![from];
        let between = self.column_of[from] + 1..self.column_of[to];
        if self.column_of.len() - self.nodes + between.len() <= PASSES_MAX {
            for column in between {
                path.push(self.column_of.len());
                self.columns[column].push(self.column_of.len());
                self.column_of.push(column);
                self.before.push(Vec::new());
                self.after.push(Vec::new());
            }
        }
        path.push(to);
        for pair in path.windows(2) {
            self.after[pair[0]].push(pair[1]);
            self.before[pair[1]].push(pair[0]);
        }
        path
    }

    /// Puts what is connected side by side, so that few lines cross.
    fn sort(&mut self) {
        for _ in 0..SWEEPS {
            for column in 1..self.columns.len() {
                self.sort_column(column, column - 1, |graph, slot| &graph.before[slot]);
            }
            for column in (0..self.columns.len().saturating_sub(1)).rev() {
                self.sort_column(column, column + 1, |graph, slot| &graph.after[slot]);
            }
        }
    }

    /// Sorts a column by the middle of what each slot is connected to in another one.
    fn sort_column(&mut self, column: usize, other: usize, connected: impl Fn(&Self, usize) -> &Vec<usize>) {
        let middle = |slots: usize, at: usize| at as f64 - (slots as f64 - 1.0) / 2.0;
        let mut height_of = vec![None; self.column_of.len()];
        let others = &self.columns[other];
        others.iter().enumerate().for_each(|(at, slot)| height_of[*slot] = Some(middle(others.len(), at)));
        let slots = &self.columns[column];
        let wanted = slots.iter().enumerate().map(|(at, slot)| {
            let heights: Vec<f64> = connected(self, *slot).iter().filter_map(|other| height_of[*other]).collect();
            let own = middle(slots.len(), at);
            let mean = if heights.is_empty() { own } else { heights.iter().sum::<f64>() / heights.len() as f64 };
            (mean, *slot)
        });
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.columns[column] = wanted.into_iter().map(|(_, slot)| slot).collect();
    }

    fn height(&self, slot: usize) -> i32 {
        if slot < self.nodes { BOX_HEIGHT } else { LINE_HEIGHT }
    }

    fn draw(&self, paths: &[Vec<usize>]) -> Layout {
        let height_of = |column: &Vec<usize>| {
            column.iter().map(|slot| self.height(*slot) + GAP_IN_COLUMN).sum::<i32>() - GAP_IN_COLUMN
        };
        let tallest = self.columns.iter().map(height_of).max().unwrap_or(0);
        let mut corners = vec![Point { x: 0, y: 0 }; self.column_of.len()];
        for (at, column) in self.columns.iter().enumerate() {
            let x = MARGIN + at as i32 * (BOX_WIDTH + GAP_BETWEEN_COLUMNS);
            let mut y = MARGIN + (tallest - height_of(column)) / 2;
            for slot in column {
                corners[*slot] = Point { x, y };
                y += self.height(*slot) + GAP_IN_COLUMN;
            }
        }
        let lines = paths.iter().map(|path| self.line(&corners, path)).collect();
        corners.truncate(self.nodes);
        let columns = self.columns.len() as i32;
        let width = 2 * MARGIN + columns * BOX_WIDTH + (columns - 1).max(0) * GAP_BETWEEN_COLUMNS;
        Layout { width, height: tallest + 2 * MARGIN, corners, lines }
    }

    /// From the right side of the first slot to the left side of the last one, across those between them.
    fn line(&self, corners: &[Point], path: &[usize]) -> Vec<Point> {
        let sides = path.iter().flat_map(|slot| {
            let y = corners[*slot].y + self.height(*slot) / 2;
            [Point { x: corners[*slot].x, y }, Point { x: corners[*slot].x + BOX_WIDTH, y }]
        });
        let sides: Vec<_> = sides.collect();
        sides[1..sides.len() - 1].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two boxes overlap, each edge leads to the right, and no line passes through a box.
    fn assert_legible(nodes: usize, edges: &[(usize, usize)], last: &[usize]) -> Layout {
        let made = layout(nodes, edges, last);
        assert_eq!((made.corners.len(), made.lines.len()), (nodes, edges.len()));
        for (at, a) in made.corners.iter().enumerate() {
            assert!(a.x >= 0 && a.y >= 0 && a.x + BOX_WIDTH <= made.width && a.y + BOX_HEIGHT <= made.height, "{a:?}");
            for b in &made.corners[at + 1..] {
                assert!((a.x - b.x).abs() >= BOX_WIDTH || (a.y - b.y).abs() >= BOX_HEIGHT, "{a:?} is on {b:?}");
            }
        }
        for ((from, to), line) in edges.iter().zip(&made.lines) {
            let (from, to) = (made.corners[*from], made.corners[*to]);
            assert!(from.x + BOX_WIDTH < to.x, "{from:?} is not on the left of {to:?}");
            assert_eq!(line[0], Point { x: from.x + BOX_WIDTH, y: from.y + BOX_HEIGHT / 2 });
            assert_eq!(*line.last().unwrap(), Point { x: to.x, y: to.y + BOX_HEIGHT / 2 });
            for passes in line[1..line.len() - 1].chunks(2) {
                let is_hit = |corner: &&Point| {
                    corner.x == passes[0].x && (corner.y..=corner.y + BOX_HEIGHT).contains(&passes[0].y)
                };
                assert_eq!(made.corners.iter().find(is_hit), None, "a line passes through a box");
            }
        }
        made
    }

    #[test]
    fn a_chain_with_a_shortcut_is_drawn_around_what_is_between() {
        let made = assert_legible(3, &[(0, 1), (1, 2), (0, 2)], &[]);
        assert_eq!(made.lines[2].len(), 4);
    }

    #[test]
    fn a_diamond_a_fan_and_what_is_alone_are_legible() {
        assert_legible(4, &[(0, 1), (0, 2), (1, 3), (2, 3)], &[]);
        let fan: Vec<_> = (1..40).flat_map(|n| [(0, n), (n, 40)]).collect();
        assert_legible(41, &fan, &[]);
        assert_legible(5, &[], &[3, 4]);
        assert_legible(0, &[], &[]);
    }

    #[test]
    fn what_is_last_is_on_the_right_of_all_others() {
        let made = assert_legible(5, &[(0, 1), (1, 2)], &[3, 4]);
        let rightmost = made.corners[..3].iter().map(|corner| corner.x).max().unwrap();
        assert!(made.corners[3].x > rightmost && made.corners[3].x == made.corners[4].x);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        // In the order in which they are numbered, both lines would cross.
        let made = assert_legible(4, &[(0, 3), (1, 2)], &[]);
        let is_above = |a: usize, b: usize| made.corners[a].y < made.corners[b].y;
        assert_eq!(is_above(0, 1), is_above(3, 2));
    }

    #[test]
    fn a_large_random_graph_is_legible_and_a_circle_ends() {
        let (mut seed, mut edges) = (7_u64, Vec::new());
        for to in 1..200_usize {
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let nearest = to.saturating_sub(9);
                edges.push((nearest + (seed >> 33) as usize % (to - nearest), to));
            }
        }
        assert_legible(200, &edges, &[]);
        assert_eq!(layout(3, &[(0, 1), (1, 2), (2, 1), (2, 2)], &[]).corners.len(), 3);
    }
}

//! What changed between two texts, line by line.

/// The most lines between the equal ones at both ends that are compared.
const MOST: usize = 400;
/// Equal lines around a change.
const AROUND: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
    /// So many equal lines.
    Omitted(usize),
}

/// The changes with some lines around them; none if the texts are equal. `None`: too much changed
/// to be compared.
#[must_use]
pub fn lines<'a>(old: &'a str, new: &'a str) -> Option<Vec<Line<'a>>> {
    if old == new {
        return Some(Vec::new());
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (gone, added) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    if gone.len() > MOST || added.len() > MOST {
        return None;
    }
    let mut all: Vec<Line<'_>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    all.extend(changes(gone, added));
    all.extend(old[old.len() - tail..].iter().map(|line| Line::Same(line)));
    Some(folded(&all))
}

/// By the longest common subsequence.
fn changes<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let width = new.len() + 1;
    // The length of what the rests from (i, j) on have in common.
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = match old[i] == new[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            found.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            found.push(Line::Gone(old[i]));
            i += 1;
        } else {
            found.push(Line::New(new[j]));
            j += 1;
        }
    }
    found
}

/// Without the equal lines that are far from any change.
fn folded<'a>(all: &[Line<'a>]) -> Vec<Line<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let same = all[at..].iter().take_while(|line| matches!(line, Line::Same(_))).count();
        let before = if at == 0 { 0 } else { AROUND };
        let after = if at + same == all.len() { 0 } else { AROUND };
        if same > before + after + 1 {
            found.extend(&all[at..at + before]);
            found.push(Line::Omitted(same - before - after));
            found.extend(&all[at + same - after..at + same]);
        } else {
            found.extend(&all[at..at + same]);
        }
        at += same;
        while at < all.len() && !matches!(all[at], Line::Same(_)) {
            found.push(all[at]);
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use Line::{Gone, New, Omitted, Same};

    #[test]
    fn changed_lines_and_some_around_them() {
        assert_eq!(lines("a\nb\nc", "a\nx\nc\nd"), Some(vec![Same("a"), Gone("b"), New("x"), Same("c"), New("d")]));
        assert_eq!(lines("a", "a"), Some(vec![]));
        assert_eq!(lines("", "a"), Some(vec![New("a")]));
        assert_eq!(lines("a\nb", "b"), Some(vec![Gone("a"), Same("b")]));
    }

    #[test]
    fn equal_lines_are_folded() {
        let old: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[50] = "x".into();
        let (old, new) = (old.join("\n"), new.join("\n"));
        let found = lines(&old, &new).expect("little changed");
        assert_eq!(found.len(), 10);
        assert_eq!((found[0], found[4], found[5], found[9]), (Omitted(47), Gone("50"), New("x"), Omitted(46)));
    }

    #[test]
    fn what_changed_too_much_is_not_compared() {
        let texts = ["a", "b"].map(|line| format!("{line}\n").repeat(MOST + 1));
        assert_eq!(lines(&texts[0], &texts[1]), None);
    }
}

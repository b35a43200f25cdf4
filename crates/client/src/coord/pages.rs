//! Lists of names, page by page.

use super::Name;
use crate::{Error, api::conclave::v1 as pb};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

/// All names, in order; `page` asks for one page. Names that come or go meanwhile may or may not be
/// told.
pub(crate) fn pages<F>(
    namespace: Option<&str>,
    page: impl Fn(pb::ListRequest) -> F + Send + 'static,
) -> BoxStream<'static, Result<Name, Error>>
where
    F: Future<Output = Result<(Vec<pb::Name>, bool), Error>> + Send,
{
    let first = pb::ListRequest { namespace: namespace.unwrap_or_default().to_owned(), ..Default::default() };
    let pages = stream::try_unfold((page, Some(first)), |(page, request)| async move {
        let Some(request) = request else { return Ok(None) };
        let (names, more) = page(request.clone()).await?;
        let next = match names.last() {
            Some(last) if more => Some(pb::ListRequest { after: Some(last.clone()), ..request }),
            _ => None,
        };
        let names = names.into_iter().map(|name| Ok(Name::from(name)));
        Ok::<_, Error>(Some((stream::iter(names), (page, next))))
    });
    pages.try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_on_after_the_last_name_of_a_page() {
        let page = |request: pb::ListRequest| async move {
            let after = request.after.map_or(0, |name| name.name.parse::<u32>().expect("a number"));
            let names =
                (after + 1..=5).take(2).map(|i| pb::Name { namespace: request.namespace.clone(), name: i.to_string() });
            let names: Vec<_> = names.collect();
            Ok((names.clone(), names.last().is_some_and(|last| last.name != "5")))
        };
        let names: Vec<Name> = pages(Some("n"), page).try_collect().await.expect("no failure");
        assert_eq!(names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
        assert!(names.iter().all(|name| name.namespace == "n"));
    }
}

//! `txn`: a transaction read from standard input, in etcdctl's form.
//!
//! Three parts, each ended by an empty line: compares, what to do if all hold, what to do if not.
//! Input that ends within a part runs nothing: half a script could be the wrong half.

use super::{Context, del::DelArgs, get::GetArgs, put::PutArgs};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{self, etcd::Txn},
    parse,
};
use clap::{Args, Parser};
use conclave_client::api::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

/// Run a transaction: compare, then do one of two lists of things, all at once
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Read from standard input: compares, then what to do if all of them hold, then what to do if
not; an empty line ends each part.

  value(\"KEY\") = \"text\"  also mod, create, version, and lease (hexadecimal); !=, <, >
  put KEY VALUE, get KEY, del KEY with the flags of those commands

Example, take a key only if nobody has it:
  conclavectl txn <<END
  create(\"owner\") = \"0\"

  put owner me

  get owner

  END

Prints SUCCESS if the compares held, else FAILURE, then the answers. The exit code is 0 in
both cases.")]
pub(crate) struct TxnArgs {
    /// Ask for each part
    #[arg(short, long)]
    interactive: bool,
}

/// One line of the second and third part.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum Step {
    Get(GetArgs),
    Put(PutArgs),
    Del(DelArgs),
}

type Input = Lines<BufReader<tokio::io::Stdin>>;

impl TxnArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let compare = self.part(&mut input, "compares:", |line| parse::compare(line).map_err(bad)).await?;
        let success = self.part(&mut input, "success requests (get, put, del):", step).await?;
        let failure = self.part(&mut input, "failure requests (get, put, del):", step).await?;
        let request = TxnRequest { compare, success, failure };
        let response = context.link.write(|channel| super::wire::txn(channel, request.clone())).await?;
        context.out.show(&Txn(&response))?;
        Ok(())
    }

    /// The lines up to the next empty one.
    async fn part<T>(&self, input: &mut Input, title: &str, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        if self.interactive {
            output::raw(&format!("{title}\n"))?;
        }
        let mut part = Vec::new();
        loop {
            match input.next_line().await? {
                Some(line) if line.trim().is_empty() => return Ok(part),
                Some(line) => part.push(read(&line)?),
                None => {
                    let title = title.trim_end_matches(':');
                    return Err(bad(format!("the input ended within the {title}")).hint(
                        "an empty line ends each of the three parts; nothing was done. See conclavectl txn --help",
                    ));
                }
            }
        }
    }
}

fn bad(message: String) -> Failure {
    Failure::new(Exit::BadInput, message)
}

/// One request of a transaction.
fn step(line: &str) -> Result<RequestOp> {
    let words = parse::words(line).map_err(bad)?;
    let step = Step::try_parse_from(words).map_err(|error| {
        let said = error.render().to_string();
        let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        bad(format!("invalid txn request: {line}: {first}")).hint("get, put and del are known, with their flags")
    })?;
    let input = |failure: Failure| failure.exit(Exit::BadInput);
    let request = match step {
        Step::Get(get) => Request::RequestRange(get.request().map_err(input)?),
        Step::Put(put) => Request::RequestPut(put.request().map_err(input)?),
        Step::Del(del) => Request::RequestDeleteRange(del.request().map_err(input)?),
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_take_the_flags_of_their_commands() {
        let of = |line: &str| step(line).expect(line).request.expect("there is one");
        assert!(
            matches!(of("put \"a b\" 'c d' --lease=1f"), Request::RequestPut(put) if put.lease == 31 && put.key == "a b")
        );
        assert!(matches!(of("get --prefix a"), Request::RequestRange(get) if get.range_end == "b"));
        assert!(matches!(of("del a --from-key"), Request::RequestDeleteRange(del) if del.range_end == "\0"));
        for line in ["foo a", "put", "get a --prefix --from-key", "put a 'b"] {
            let failure = step(line).expect_err(line);
            assert_eq!(failure.exit, Exit::BadInput, "{line}");
        }
    }
}

"""The command line. Only options and words live here; torch is imported by the commands that need it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from auditor.errors import AdvauditError, UsageError
from auditor.foreign import harmless

EXIT_CODES = """\b
Exit codes:
  0    passed, or the audit is complete and no rule was given
  1    failed: a rule is not met
  2    usage error, or the audit could not be run
  3    inconclusive: a rule can't be decided
  130  interrupted; --resume goes on"""


class Main(click.Group):
    """Turns every error into one sentence and its exit code; a traceback never reaches the user unasked."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except AdvauditError as error:
            sys.exit(_say(str(error), error.exit_code))
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(2)
            where = f" ({os.fsencode(str(error.filename))[:80].decode('utf-8', 'replace')})" if error.filename else ""
            sys.exit(_say(f"The system refused a file{where}: {error.strerror or error}.", 2))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(_say("Interrupted; what was finished is kept, --resume goes on.", 130))
        except Exception as error:
            if os.environ.get("ADVAUDIT_DEBUG"):
                raise
            sys.exit(
                _say(
                    f"advaudit failed unexpectedly ({type(error).__name__}: {harmless(str(error))[:300]}); "
                    "this is a bug, ADVAUDIT_DEBUG=1 shows where.",
                    2,
                )
            )
        sys.exit(code if isinstance(code, int) else 0)


def _say(text: str, code: int) -> int:
    click.echo(f"Error: {text}", err=True)
    return code


def quiet_threads() -> None:
    """Keep idle OpenMP threads from spinning: with another busy process they slow a step down forty-fold."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


@click.group(cls=Main, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="advaudit", prog_name="advaudit")
def main() -> None:
    """How robust is the model file you deploy, can that number be believed, and where is it weak?"""
    quiet_threads()


def plugins_dir(command: Any) -> Any:
    return click.option(
        "--plugins-dir",
        type=click.Path(path_type=Path),
        help="Load every .py file of this directory as a plugin.",
    )(command)


def require_gate(command: Any) -> Any:
    return click.option(
        "--require-gate", is_flag=True, help="Exit 2, before anything runs, unless a rule is given for each threat."
    )(command)


@main.command(epilog=EXIT_CODES)
@click.argument("model")
@click.option("--data", help="Samples: .npz (x, y), a directory with one folder a class, or .csv.")
@click.option("--config", type=click.Path(path_type=Path), help="The plan; default: audit.toml beside MODEL.")
@click.option("--norm", type=click.Choice(["linf", "l2", "l1", "l0", "spatial"]), help="How a change is measured.")
@click.option("--epsilon", help="Largest change, in the samples' units: 0.03 or 8/255. There is no default.")
@click.option("--bounds", nargs=2, type=float, metavar="LO HI", help="Values an input may have; 0 1 for pixels.")
@click.option("--suite", help="quick, standard (default), thorough, autoattack, score, decision, …")
@click.option("--attack", "attacks", multiple=True, metavar="NAME[:OPTION=VALUE,…]", help="Instead; repeatable.")
@click.option("--preprocess", metavar="NAME|FILE", help="What stands before the file: imagenet, cifar10, centred, …")
@click.option("--limit", type=click.IntRange(min=1), help="A seeded subset of this many samples.")
@click.option("--seed", type=click.IntRange(0, 2**62), help="Of every draw; default 0.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Rows that the search computes at once.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default auto.")
@click.option("--access", type=click.Choice(["gradient", "score", "decision"]), help="The most the attacker may see.")
@click.option("--goal", help="untargeted (default) or targeted:K.")
@click.option("--labels", type=click.Choice(["given", "predicted"]), help="predicted: audit stability without labels.")
@click.option("--certify/--no-certify", default=None, help="Whether certifiers run; default yes.")
@click.option(
    "--escalate/--no-escalate", default=None, help="Answer doubts with more attacks; default yes, with a suite."
)
@click.option(
    "--hardness/--no-hardness",
    default=None,
    help="Look for each class's distances and confusions; default yes, with a suite.",
)
@click.option(
    "--sequential/--no-sequential",
    default=None,
    help="Draw samples in random order, until the gate is settled; default no.",
)
@click.option("--deep", is_flag=True, help="Also run the checks that cost much.")
@click.option("--surrogate", "surrogates", multiple=True, metavar="FILE", help="A model to transfer from; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="The record's directory; default advaudit-out/STEM.")
@click.option("--resume", is_flag=True, help="Go on with a scan that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the record in --out.")
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit 1 when robust accuracy is below this.")
@require_gate
@click.option("--format", "formats", multiple=True, metavar="NAME", help="Reports; default html and csv. Repeatable.")
@click.option("--trust-model", is_flag=True, help="Let the model run its own code (.pt2, TorchScript).")
@click.option("--go-on", is_flag=True, help="Scan even where the clean accuracy is near chance.")
@click.option("--progress", type=click.Choice(["auto", "bar", "plain", "json", "none"]), default="auto")
@plugins_dir
def scan(model: str, progress: str, plugins_dir: Path | None, **options: Any) -> int:
    """Attack MODEL on labelled samples, verify every break on it, and write a record and a report.

    Everything that is not given here comes from audit.toml; `advaudit init MODEL --data DIR` writes one.
    """
    from auditor.scan import run_scan
    from auditor.terminal import listener

    with listener(progress) as listen:
        return run_scan(model, options, plugins_dir, listen)


@main.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "formats", multiple=True, metavar="NAME", help="Default html. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory; default: the first record's.")
@plugins_dir
def report(records: tuple[Path, ...], formats: tuple[str, ...], out: Path | None, plugins_dir: Path | None) -> int:
    """Render one page from one or several RECORDS."""
    from auditor.entry import Entry, folder_of, read_record
    from auditor.host import REPORTERS, Host
    from auditor.rendering import render

    host = Host.load(folder=plugins_dir, bundled=REPORTERS)
    for plugin in host.errors:
        click.echo(harmless(f"The plugin {plugin.name} can't be used: {plugin.error}"), err=True)
    entries = [Entry(read_record(path), folder_of(path)) for path in records]
    for path in render(host, entries, formats or ("html",), out or entries[0].folder):
        click.echo(path)
    return 0


@main.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["text", "markdown", "html", "json", "csv"]),
    help="text (default) is printed, the others are written. Repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Directory; default: the last record's.")
@click.option("--across-threats", is_flag=True, help="Compare though the threats differ; the result says so.")
def compare(records: tuple[Path, ...], formats: tuple[str, ...], out: Path | None, across_threats: bool) -> int:
    """Compare RECORDS of the same samples in pairs: what changed, by class, and which samples flipped.

    The first record is the baseline, each other one is compared with it. It judges nothing: the exit code is 0, or 2
    where the records can't be compared.
    """
    from auditor.compare import present

    for line in present(records, formats or ("text",), out, across_threats=across_threats):
        click.echo(line)
    return 0


@main.command(epilog=EXIT_CODES)
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="The policy: an audit.toml with [[gate]] tables.")
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit 1 when robust accuracy is below this.")
@require_gate
@click.option("--format", "formats", multiple=True, metavar="NAME", help="Also write reports of the judged RECORDS.")
@click.option("--out", type=click.Path(path_type=Path), help="Their directory; default: gate in the first record's.")
@plugins_dir
def gate(
    records: tuple[Path, ...],
    config: Path | None,
    fail_under: float | None,
    require_gate: bool,
    formats: tuple[str, ...],
    out: Path | None,
    plugins_dir: Path | None,
) -> int:
    """Judge old RECORDS by a policy, without the model.

    The records stay as they are. Several share the policy, each is judged by the rules for its threat.
    """
    from auditor.config import Config, read_config
    from auditor.rejudge import rejudge
    from auditor.verdict import exit_code, tell, worst

    if config is None and fail_under is None:
        raise UsageError("A gate needs a policy: give --config FILE or --fail-under X.")
    policy = (Config() if config is None else read_config(config)).rules(config, fail_under)
    entries = rejudge(records, policy, require=require_gate)
    for entry in entries:
        if len(entries) > 1:
            click.echo(harmless(f"{entry.record.model.name} {entry.record.threat.name}"))
        for line in tell(entry.record):
            click.echo(line)
    if formats:  # whoever wants none does not wait for what renders them
        from auditor.host import REPORTERS, Host
        from auditor.rendering import render

        host = Host.load(folder=plugins_dir, bundled=REPORTERS)
        for path in render(host, entries, formats, out or entries[0].folder / "gate"):
            click.echo(path)
    return exit_code(worst([entry.record.verdict for entry in entries]))


@main.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--model", help="The model file, if it has moved.")
@click.option("--trust-model", is_flag=True, help="Let the model file run its own code.")
@plugins_dir
def verify(record: Path, model: str | None, trust_model: bool, plugins_dir: Path | None) -> int:
    """Replay a RECORD's adversarial examples on the model, and say which still hold."""
    from auditor.replay import replay

    result = replay(record, model=model, trust=trust_model, plugins_dir=plugins_dir)
    click.echo(result.text)
    return 0 if result.whole else 1


@main.command()
@click.argument("model")
@click.option("--data", help="Samples, to find the input convention with.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: audit.toml beside MODEL.")
@click.option("--overwrite", is_flag=True, help="Replace an audit.toml that is there.")
@click.option("--trust-model", is_flag=True, help="Let the model file run its own code.")
@plugins_dir
def init(
    model: str, data: str | None, out: Path | None, overwrite: bool, trust_model: bool, plugins_dir: Path | None
) -> int:
    """Inspect MODEL and write a commented audit.toml; with --data, find out what inputs it expects."""
    from auditor.starter import start

    for line in start(model, data, out, overwrite=overwrite, trust=trust_model, plugins_dir=plugins_dir):
        click.echo(line)
    return 0


@main.command()
@click.argument("model", required=False)
@click.option("--data", help="Samples to compare on; default: those of audit.toml, else a few random inputs.")
@click.option("--config", type=click.Path(path_type=Path), help="The plan; default: audit.toml beside MODEL.")
@click.option("--preprocess", metavar="NAME|FILE", help="What stands before the file: imagenet, cifar10, centred, …")
@click.option("--limit", type=click.IntRange(min=1), help="Compare on a seeded subset of this many samples.")
@click.option("--bisect", is_flag=True, help="Go node by node also where twin and file agree.")
@click.option("--trust-model", is_flag=True, help="Let the model run its own code, and lift the limits on it.")
@plugins_dir
def doctor(model: str | None, plugins_dir: Path | None, trust_model: bool, bisect: bool, **options: Any) -> int:
    """Show what this machine offers, and what would get in the way of an audit.

    With MODEL: which operators it has, how its twin computes them, how far twin and file agree, and at which node they
    part first. Exits with 0 whatever is found, with 2 where the file can't be run.
    """
    from auditor.doctor import examine

    if model is None:
        if given := [name for name, value in {**options, "bisect": bisect}.items() if value]:
            raise UsageError(f"--{given[0]} is about a model: advaudit doctor MODEL --{given[0]} …")
        healthy = True
        for fact in examine(plugins_dir):
            click.echo(fact.line)
            healthy &= fact.level != "problem"
        return 0 if healthy else 2

    from auditor.case import Case
    from auditor.diagnosis import diagnose
    from auditor.host import Host

    case = Case(model=model, trust=trust_model, bisect=bisect, **options)
    for fact in diagnose(case, Host.load(folder=plugins_dir)):
        click.echo(fact.line)
    return 0


@main.group()
def plugins() -> None:
    """List, check and start plugins."""


@plugins.command("list")
@plugins_dir
def list_plugins(plugins_dir: Path | None) -> int:
    """Show every attack, check, certifier, defence, report format and plugin that is loaded."""
    from auditor.host import Host
    from auditor.listing import lines

    host = Host.load(folder=plugins_dir)
    for line in lines(host):
        click.echo(line)
    return 2 if host.errors else 0


@plugins.command("operators")
@plugins_dir
def list_operators(plugins_dir: Path | None) -> int:
    """Show every operator that a differentiable twin can be built from, as Markdown."""
    from auditor.catalogue import page
    from auditor.host import Host

    click.echo(page(Host.load(folder=plugins_dir)), nl=False)
    return 0


@plugins.command("check")
@click.argument("module")
def check_plugin(module: str) -> int:
    """Run the conformance checks on the attacks of MODULE (an import path or a .py file)."""
    from auditor.conformance import check_module

    failed = 0
    for line in check_module(module):
        click.echo(line.text)
        failed += not line.ok
    return 1 if failed else 0


@plugins.command("new")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="Where the folder is made.")
def new_plugin(name: str, into: Path) -> int:
    """Make a folder NAME with an installable, tested attack to start from."""
    from auditor.scaffold import scaffold

    for path in scaffold(name, into):
        click.echo(path)
    return 0


if __name__ == "__main__":
    main()

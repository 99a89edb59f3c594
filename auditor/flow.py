"""The whole flow on one screen: from a model file to a record."""

from __future__ import annotations

from functools import partial

from auditor.access import Access
from auditor.certificates import certify
from auditor.chance import CHANCE
from auditor.escalation import believe, trusting, unasked
from auditor.events import Finished, Listener, Notice, Observed
from auditor.explore import explore, left_out
from auditor.folder import Folder, finished, rewritten
from auditor.gate import judge, judged
from auditor.host import Host
from auditor.inquiry import Inquiry
from auditor.job import Job
from auditor.judgement import Verdict
from auditor.ledger import Ledger
from auditor.measured import measured
from auditor.observe import observe
from auditor.outcomes import evidence, settle
from auditor.prepare import check_accuracy, load, tell_duration
from auditor.record import Record
from auditor.regression import check_other
from auditor.search import Search
from auditor.stand_ins import stand_ins
from auditor.verify import Verifier
from auditor.watch import draw
from auditor.weigh import weigh
from auditor.write import compose


def audit(job: Job, host: Host, listen: Listener) -> Record:
    """Scan one model on one set of samples under one threat, and write the record to `job.out`.

    An attack proposes, the deployed model decides: nothing counts as an adversarial example until the verifier has
    found it inside the threat model and the target misclassifies it. Raises AdvauditError where the scan can't be run;
    what had been finished then stays in the journal, and `job.resume` goes on from it.
    """
    check_other(job.policy, job.out)
    CHANCE.begin(job.seed, "load")
    target, samples, region = load(job)
    plan = job.plan(target, samples)
    if (done := finished(job, plan)) is not None:
        return rewritten(job.out, judged(done, job.policy))
    CHANCE.begin(job.seed, "observation")
    observation = observe(target, samples)
    correct = check_accuracy(job, target, samples, observation)
    listen(Observed(n=len(samples), accuracy=float(correct.mean()), chance=1 / target.classes))

    CHANCE.begin(job.seed, "twin")
    job, seen = measured(job, target, samples)
    if seen.why_none is not None and job.access is Access.GRADIENT:
        listen(Notice(text=f"No white-box attacks: {seen.why_none} `advaudit doctor {job.model}` says more."))

    with Folder.open(job, plan) as folder:
        verifier = Verifier(target, samples, job.threat, region, votes=observation.votes)
        certificates = certify(job, host, seen.twin, samples, region)
        ledger = Ledger.of(samples, correct, spared=certificates.spared)
        search = Search(
            target=target,
            twin=seen.twin,
            samples=samples,
            threat=job.threat,
            region=region,
            verifier=verifier,
            access=job.access,
            execution=job.execution,
            seed=job.seed,
            journal=folder.journal,
            listen=listen,
            doubt=seen.doubt,
            sources=stand_ins(job, target, seen.twin, samples, observation),
        )
        tell_duration(job, search, ledger, listen)

        known, drawn = partial(settle, samples, job.threat, observation, proved=certificates), None
        told = partial(compose, job, host, search, plan, certificates=certificates, why_no_twin=seen.why_none)
        belief = trusting(Inquiry(host, search, ledger, observation, seen))
        blank = told(outcomes=known(ledger, []), evidence={}, attacks=[], belief=belief)
        judge(job.policy, blank)  # rules that can't be judged are told before anything is attacked
        if job.sequential:
            attacks, drawn, ledger = draw(job, search, ledger, blank, known)
        else:
            attacks = search.play(job.suite, ledger)
        explored = explore(search, ledger, attacks, host.attacks, job) if job.hardness else left_out(job)
        attacks += explored.rows if explored else []
        inquiry = Inquiry(host, search, ledger, observation, seen, deep=job.deep)
        failed = drawn is not None and drawn.settled is Verdict.FAILED
        attacks, belief = unasked(inquiry, attacks) if failed else believe(inquiry, attacks, escalate=job.escalate)

        outcomes = known(ledger, attacks)
        proof = evidence(samples, job.threat, ledger, explored)
        hardness = weigh(explored, outcomes, samples, job.threat, job.confusions) if explored else None
        record = told(outcomes=outcomes, evidence=proof, attacks=attacks, belief=belief, hardness=hardness, drawn=drawn)
        record = folder.finish(judged(record, job.policy), proof, certificates.witness)
    listen(Finished(summary=record.summary, verdict=record.verdict, folder=str(job.out)))
    return record

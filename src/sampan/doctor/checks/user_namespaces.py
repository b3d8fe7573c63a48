"""Whether ordinary users get user namespaces, without which ``sampan run`` needs root."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.subject import Subject
from sampan.kernel.namespace_probe import try_user_namespace
from sampan.kernel.userns import describe_settings, explain_refusal

SYMPTOM = "error[user-namespace]: this host gives ordinary users no user namespace"


def check(subject: Subject) -> Iterator[Finding]:
    """The settings of kernel and AppArmor; on this machine also the act itself."""
    host = subject.host
    root = host.path("/proc").removesuffix("/proc") or "/"
    remedy, settings = explain_refusal(root), describe_settings(root)
    if host.uid == 0:
        if remedy:
            yield info(
                "user-namespaces-root-only", "only root can run containers on this host", settings,
                symptom=SYMPTOM, remedy=remedy,
            )  # fmt: skip
        else:
            yield ok("user-namespaces", "no setting keeps ordinary users from namespaces", settings)
        return
    if host.is_this:
        error = try_user_namespace()
        if error is not None:
            yield broken(
                "user-namespaces-refused", error.cause, error.evidence, symptom=SYMPTOM,
                remedy=error.remedy,
            )  # fmt: skip
            return
    elif remedy:
        yield broken(
            "user-namespaces-refused", "this host gives ordinary users no user namespace", settings,
            symptom=SYMPTOM, remedy=remedy,
        )  # fmt: skip
        return
    yield ok("user-namespaces", "this user gets user namespaces", settings)

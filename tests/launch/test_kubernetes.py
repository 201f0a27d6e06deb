"""launch/kubernetes.yaml: valid by the schemas of Kubernetes and JobSet, and as it promises.

No cluster is asked, so nothing here shows that the pods run.
"""

from pathlib import Path

import pytest
import yaml

from gan import errors

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="the test extra has it")
models = pytest.importorskip("kubeflow_trainer_api.models", reason="the test extra has it")

FILE = Path(__file__).parents[2] / "launch/kubernetes.yaml"
DOCUMENTS = {text["kind"]: text for text in yaml.safe_load_all(FILE.read_text())}
JOBS = {
    "Job": DOCUMENTS["Job"]["spec"],
    "JobSet": DOCUMENTS["JobSet"]["spec"]["replicatedJobs"][0]["template"]["spec"],
}
PODS = {kind: job["template"]["spec"] for kind, job in JOBS.items()}
STOP = {error.exit_code for error in (errors.ConfigError, errors.DataError, errors.WorkdirInUse)}
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")  # 1.29 is the first that counts crashes by index.
JOBSET_ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
JOB_FAILURES = {
    *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded"),
    "PodFailurePolicy",
}


def unknown(given, known, path=""):
    """Finds the fields of `given` that are lost in `known`, the same document read by a model."""
    if isinstance(given, dict):
        here = [f"{path}.{name}" for name in given if name not in known]
        rest = [(given[name], known[name], f"{path}.{name}") for name in given if name in known]
    elif isinstance(given, list):
        here = []
        rest = [(*pair, f"{path}[{i}]") for i, pair in enumerate(zip(given, known, strict=True))]
    else:
        return []
    return here + [found for one in rest for found in unknown(*one)]


def environment(kind):
    return {one["name"]: one for one in PODS[kind]["containers"][0]["env"]}


def exit_codes(kind):
    """Returns the rule and action for each exit code that the policy names."""
    rules = JOBS[kind]["podFailurePolicy"]["rules"]
    assert all(rule["onExitCodes"]["operator"] == "In" for rule in rules if "onExitCodes" in rule)
    return {
        code: (index, rule["action"])
        for index, rule in enumerate(rules)
        for code in rule.get("onExitCodes", {}).get("values", [])
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "Service", "Job", "JobSet"])
def test_kubernetes__knows_every_field_and_type(kind, version):
    document = DOCUMENTS[kind]
    if kind == "JobSet":  # Kubernetes has no schema of a JobSet, but of the Job that it makes.
        job = JOBS["JobSet"]
        document = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": job}
    kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes__would_find_a_wrong_field():
    wrong = {**DOCUMENTS["Service"], "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_jobset__knows_every_field_type_and_value():
    jobset = DOCUMENTS["JobSet"]
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert unknown(jobset, models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()) == []
    for rule in jobset["spec"]["failurePolicy"]["rules"]:
        assert rule["action"] in JOBSET_ACTIONS
        assert set(rule["onJobFailureReasons"]) <= JOB_FAILURES


def test_jobset__would_find_a_wrong_field():
    wrong = {"metadata": {}, "spec": {"network": {"enableDnsHostnames": True}}}
    back = models.JobsetV1alpha2JobSet.from_dict(wrong).to_dict()
    assert unknown(wrong, back) == [".spec.network.enableDnsHostnames"]


def test_labels__one_command_applies_one_of_the_two():
    labels = {kind: one["metadata"].get("labels", {}) for kind, one in DOCUMENTS.items()}
    launcher = {kind: label.get("launcher") for kind, label in labels.items()}
    assert launcher == {"NetworkPolicy": None, "Service": "job", "Job": "job", "JobSet": "jobset"}


def test_job__fails_at_once_where_a_retry_cannot_help():
    codes = exit_codes("Job")
    assert {code for code, (_, action) in codes.items() if action == "FailJob"} == STOP
    assert codes.pop(errors.Preempted.exit_code) == (2, "Ignore")
    assert set(codes) == STOP  # All others count as crashes, of which there may be only so many.
    assert errors.Diverged.exit_code == errors.INTERNAL not in codes
    assert JOBS["Job"]["podFailurePolicy"]["rules"][1]["action"] == "Ignore"
    assert JOBS["Job"]["backoffLimitPerIndex"] > 0 == JOBS["Job"]["maxFailedIndexes"]


def test_jobset__fails_at_once_where_a_retry_cannot_help():
    """A JobSet sees only the message of the rule by which a Job failed, so that decides."""
    codes = exit_codes("JobSet")
    assert {code for code, (index, _) in codes.items() if index == 0} == STOP
    assert set(codes) == STOP | {errors.Preempted.exit_code}
    assert {action for _, action in codes.values()} == {"FailJob"}
    policy = DOCUMENTS["JobSet"]["spec"]["failurePolicy"]
    stop, again = policy["rules"]
    assert stop["action"] == "FailJobSet"
    assert stop["onJobFailureMessagePatterns"] == ["matching FailJob rule at index 0$"]
    assert again["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert stop["onJobFailureReasons"] == again["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert policy["maxRestarts"] > 0 == JOBS["JobSet"]["backoffLimit"]


@pytest.mark.parametrize("kind", JOBS)
def test_pods__a_node_that_is_taken_away_is_no_crash(kind):
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    assert disrupted in [
        rule.get("onPodConditions") for rule in JOBS[kind]["podFailurePolicy"]["rules"][1:]
    ]


@pytest.mark.parametrize("kind", JOBS)
def test_pods__start_at_once_and_find_the_first(kind):
    job, name = JOBS[kind], DOCUMENTS[kind]["metadata"]["name"]
    hosts = job["completions"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == hosts == int(environment(kind)["JAX_NUM_PROCESSES"]["value"])
    host, _, port = environment(kind)["JAX_COORDINATOR_ADDRESS"]["value"].partition(":")
    if kind == "Job":
        service = DOCUMENTS["Service"]
        assert host == f"{name}-0.{PODS[kind]['subdomain']}"
        assert PODS[kind]["subdomain"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"]
        assert service["spec"]["selector"].items() <= job["template"]["metadata"]["labels"].items()
    else:
        network = DOCUMENTS["JobSet"]["spec"]["network"]
        replicated = DOCUMENTS["JobSet"]["spec"]["replicatedJobs"][0]
        assert host == f"{name}-{replicated['name']}-0-0.{name}"
        assert replicated["replicas"] == 1
        assert network["enableDNSHostnames"]
        assert network["publishNotReadyAddresses"]
    assert environment(kind)["JAX_COORDINATOR_BIND_ADDRESS"]["value"] == f"$(POD_IP):{port}"
    names = list(environment(kind))
    assert names.index("POD_IP") < names.index("JAX_COORDINATOR_BIND_ADDRESS")  # Else it stays.


def test_pods__are_the_same_in_both():
    job, jobset = ({**pod, "subdomain": ""} for pod in PODS.values())
    text = yaml.safe_dump(job).replace("gan-0.gan:", "gan-set-hosts-0-0.gan-set:")
    assert text == yaml.safe_dump(jobset)


@pytest.mark.parametrize("kind", JOBS)
def test_pods__may_do_little(kind):
    pod = PODS[kind]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "@sha256:" in container["image"]
        assert container["resources"]["limits"]["memory"]
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {
        *("persistentVolumeClaim", "emptyDir"),
    }


@pytest.mark.parametrize("kind", JOBS)
def test_pods__have_a_place_for_all_they_write(kind):
    """The root is read-only; run, data, compiled programs and temporary files are written."""
    (container,) = PODS[kind]["containers"]
    places = [mount["mountPath"] for mount in container["volumeMounts"]]
    options = dict(argument.split("=", 1) for argument in container["args"])
    home = environment(kind)["HOME"]["value"]
    assert home == "/tmp"
    for path in (options["--workdir"], options["--config.data.cache_dir"], home, "/dev/shm"):
        assert any(Path(path).is_relative_to(place) for place in places)
    config = options["--config"].split(":")[0]
    assert (FILE.parents[1] / config).is_file()


@pytest.mark.parametrize("kind", JOBS)
def test_pods__have_time_to_save(kind):
    assert PODS[kind]["terminationGracePeriodSeconds"] >= 120
    assert PODS[kind]["restartPolicy"] == "Never"


def test_network_policy__only_the_pods_of_a_run_reach_each_other():
    policy = DOCUMENTS["NetworkPolicy"]["spec"]
    own = [{"podSelector": policy["podSelector"]}]
    for job in JOBS.values():
        labels = job["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": own}]
    inside, names = policy["egress"]
    assert inside == {"to": own}
    assert {port["port"] for port in names["ports"]} == {53}

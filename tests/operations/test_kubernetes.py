"""deploy/kubernetes/, read without a cluster: it is valid, has no secrets, and its numbers agree with the settings."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service import VERSION
from service.server.sanic_app import longest_stop
from service.settings.all_settings import Settings, load_settings
from tests.documents import DOCS, block, section
from tests.image import instructions
from tests.support import ROOT, SECRET, command

BASE = ROOT / "deploy/kubernetes/base"
PRODUCTION = ROOT / "deploy/kubernetes/overlays/production"
OLDEST = "1.30"  # with `sleep` in preStop
CONNECTIONS_OF_A_STOCK_SERVER = 100 - 3  # max_connections without superuser_reserved_connections
SECRETS = {
    "DATABASE_URL": "postgresql://todo_runtime:0123abc@db/todo",
    "DATABASE_DIRECT_URL": "postgresql://todo_owner:0123abc@db/todo",
    "BETTER_AUTH_SECRET": SECRET,
    "BETTER_AUTH_SECRET_OLD": SECRET,
}

KUBECTL = shutil.which("kubectl") or "kubectl"
HAS_KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def kustomization(folder: Path) -> Any:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def of_files(folder: Path) -> list[Any]:
    files = [name for name in kustomization(folder)["resources"] if name.endswith(".yaml")]
    return [each for name in files for each in yaml.safe_load_all((folder / name).read_text())]


def base() -> list[Any]:
    """The resources of the base, with its ConfigMap as kustomize generates it."""
    [generated] = kustomization(BASE)["configMapGenerator"]
    data = dict(line.split("=", 1) for line in generated["literals"])
    named = {"name": generated["name"]}
    return [*of_files(BASE), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": data}]


def production() -> list[Any]:
    done = subprocess.run([KUBECTL, "kustomize", PRODUCTION], capture_output=True, text=True, timeout=60, check=True)
    return list(yaml.safe_load_all(done.stdout))


class Manifests:
    def __init__(self, resources: list[Any]) -> None:
        self.resources = resources

    def one(self, kind: str) -> Any:
        [found] = [each for each in self.resources if each["kind"] == kind]
        return found

    def pod(self, kind: str) -> Any:
        return self.one(kind)["spec"]["template"]["spec"]

    def labels(self, kind: str) -> Any:
        return self.one(kind)["spec"]["template"]["metadata"]["labels"]

    def container(self, kind: str) -> Any:
        [found] = self.pod(kind)["containers"]
        return found

    def environment(self, kind: str) -> dict[str, str]:
        container = self.container(kind)
        found: dict[str, str] = {}
        for each in container.get("envFrom", []):
            config = self.one("ConfigMap")
            assert each["configMapRef"]["name"] == config["metadata"]["name"]
            found |= config["data"]
        for each in container["env"]:
            value = each["value"] if "value" in each else SECRETS[each["valueFrom"]["secretKeyRef"]["key"]]
            found[each["name"]] = re.sub(r"\$\(([A-Z_]+)\)", lambda name: found[name[1]], value)
        return found

    def settings(self, kind: str) -> Settings:
        given: dict[str, Any] = {name.lower(): value for name, value in self.environment(kind).items()}
        assert set(given) <= set(Settings.model_fields)
        return load_settings(_env_file=None, **given)


@pytest.fixture(scope="module", params=["base", pytest.param("production", marks=HAS_KUBECTL)])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """The base as its files say, and the overlay as kubectl builds it."""
    return Manifests(base() if request.param == "base" else production())


def test_the_kustomizations_name_every_file() -> None:
    for folder in (BASE, PRODUCTION):
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert files == {name for name in kustomization(folder)["resources"] if not name.startswith("..")}


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_resource_is_valid_for_the_oldest_and_the_newest_kubernetes(manifests: Manifests, version: str) -> None:
    for each in [*manifests.resources, *of_files(PRODUCTION)]:
        if each["kind"] != "ServiceMonitor":  # of the Prometheus Operator
            kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_field_would_be_refused() -> None:
    budget = Manifests(base()).one("PodDisruptionBudget")

    with pytest.raises(kubernetes_validate.ValidationError, match="maxUnavailabel"):
        kubernetes_validate.validate(budget | {"spec": {"maxUnavailabel": 1}}, OLDEST, strict=True)


def test_probes_have_the_numbers_of_the_image_and_of_the_settings(manifests: Manifests) -> None:
    container, settings = manifests.container("Deployment"), manifests.settings("Deployment")
    startup, live, ready = (container[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    [healthcheck] = [each.flags for each in instructions() if each.name == "HEALTHCHECK"]

    assert [each["httpGet"] for each in (startup, live, ready)] == [
        {"path": path, "port": "http"} for path in ("/health/live", "/health/live", "/health")
    ]
    assert (f"{live['periodSeconds']}s", f"{live['timeoutSeconds']}s", str(live["failureThreshold"])) == (
        healthcheck["interval"], healthcheck["timeout"], healthcheck["retries"],
    )  # fmt: skip
    assert startup["periodSeconds"] * startup["failureThreshold"] >= settings.database_wait + 15
    assert ready["timeoutSeconds"] >= settings.statement_timeout
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == {
        "http": settings.port, "metrics": settings.metrics_port,
    }  # fmt: skip


def test_a_pod_has_time_to_leave_the_endpoints_and_to_stop(manifests: Manifests) -> None:
    deployment, settings = manifests.one("Deployment")["spec"], manifests.settings("Deployment")
    pause = manifests.container("Deployment")["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert manifests.pod("Deployment")["terminationGracePeriodSeconds"] >= pause + 2 * longest_stop(settings)
    assert deployment["minReadySeconds"] >= pause + longest_stop(settings)
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_the_connections_of_all_pods_fit_a_stock_server_and_the_comment_has_the_sum(manifests: Manifests) -> None:
    scaler, settings = manifests.one("HorizontalPodAutoscaler")["spec"], manifests.settings("Deployment")
    surge = manifests.one("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    most = scaler["maxReplicas"]
    pods = most + surge + 1
    connections = pods * settings.workers * settings.pool_max

    assert connections <= CONNECTIONS_OF_A_STOCK_SERVER - 5
    comment = (BASE / "autoscaler.yaml").read_text().partition("\napiVersion")[0]
    assert f"{most} pods (maxReplicas) + {surge} that comes (maxSurge) + 1 that still goes = {pods}\n" in comment
    assert (
        f"{pods} pods x {settings.workers} process (WORKERS) x {settings.pool_max} connections (POOL_MAX) "
        f"= {connections}\n" in comment
    )
    assert f"{CONNECTIONS_OF_A_STOCK_SERVER - connections} are left for" in comment


def test_no_more_than_one_pod_goes_at_a_time(manifests: Manifests) -> None:
    scaler = manifests.one("HorizontalPodAutoscaler")["spec"]
    budget = manifests.one("PodDisruptionBudget")["spec"]
    [policy] = scaler["behavior"]["scaleDown"]["policies"]

    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] >= manifests.one("Deployment")["spec"]["minReadySeconds"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert scaler["minReplicas"] > budget["maxUnavailable"]
    assert "replicas" not in manifests.one("Deployment")["spec"]


def test_hashing_and_the_event_loop_have_a_processor_for_each_thread(manifests: Manifests) -> None:
    resources, settings = manifests.container("Deployment")["resources"], manifests.settings("Deployment")

    assert settings.hash_threads is not None
    assert int(resources["limits"]["cpu"]) == settings.workers * (settings.hash_threads + 1)
    assert int(resources["requests"]["cpu"]) == settings.workers


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_restricted_and_run_as_the_user_of_the_image_with_nothing_to_write_to(
    manifests: Manifests, kind: str
) -> None:
    pod, container = manifests.pod(kind), manifests.container(kind)
    [user] = [each.rest.split(":") for each in instructions() if each.name == "USER"]

    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": int(user[0]), "runAsGroup": int(user[1]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the container's own
    assert [each["emptyDir"]["medium"] for each in pod["volumes"]] == ["Memory"]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    enforced = manifests.one("Namespace")["metadata"]["labels"]
    assert enforced == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_each_container_names_its_own_secrets_and_no_file_has_one(manifests: Manifests) -> None:
    def secrets(kind: str) -> list[tuple[str, str]]:
        found = [each["valueFrom"]["secretKeyRef"] for each in manifests.container(kind)["env"] if "valueFrom" in each]
        return [(each["name"], each["key"]) for each in found]

    runtime = ("DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_OLD")
    assert secrets("Deployment") == [("todo-runtime", name) for name in runtime]
    assert secrets("Job") == [("todo-owner", "DATABASE_DIRECT_URL")]
    assert "Secret" not in {each["kind"] for each in manifests.resources}
    assert set(manifests.one("ConfigMap")["data"]).isdisjoint(SECRETS)


def test_the_settings_are_valid_and_the_job_migrates_as_the_owner(manifests: Manifests) -> None:
    service, job = manifests.settings("Deployment"), manifests.settings("Job")

    assert (service.dsn, service.secret) == (SECRETS["DATABASE_URL"], SECRET)
    assert (service.metrics_host, service.workers) == ("0.0.0.0", 1)  # noqa: S104 - the pod's own
    assert job.require_direct_url() == job.dsn == SECRETS["DATABASE_DIRECT_URL"]
    assert manifests.container("Job")["args"] == ["migrate"]
    assert "args" not in manifests.container("Deployment")


def test_a_job_with_a_bad_setting_is_not_tried_again(tmp_path: Path) -> None:
    job = Manifests(base()).one("Job")["spec"]
    given_up = [each["onExitCodes"] for each in job["podFailurePolicy"]["rules"] if each["action"] == "FailJob"]

    done = command(tmp_path, "migrate", DATABASE_URL="mysql://db/todo")

    assert [(each["containerName"], each["values"]) for each in given_up] == [("migrate", [done.returncode])]
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_selectors_find_the_pods_of_the_service_and_not_those_of_the_job(manifests: Manifests) -> None:
    labels, of_the_job = manifests.labels("Deployment"), manifests.labels("Job")
    service, deployment = manifests.one("Service"), manifests.one("Deployment")
    scaler = manifests.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]

    assert labels != of_the_job
    assert [
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *[each["labelSelector"]["matchLabels"] for each in manifests.pod("Deployment")["topologySpreadConstraints"]],
    ] == [labels] * 5
    assert (scaler["kind"], scaler["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http", "metrics"]


def test_pods_spread_over_zones_and_nodes_without_being_held_back(manifests: Manifests) -> None:
    spread = manifests.pod("Deployment")["topologySpreadConstraints"]

    assert [(each["topologyKey"], each["whenUnsatisfiable"]) for each in spread] == [
        ("topology.kubernetes.io/zone", "ScheduleAnyway"), ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]  # fmt: skip


def test_network_policies_open_the_named_ports_alone(manifests: Manifests) -> None:
    def namespace(name: str) -> list[Any]:
        return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]

    def ports(*ports: tuple[str, int | str]) -> list[Any]:
        return [{"protocol": protocol, "port": port} for protocol, port in ports]

    found = {each["metadata"]["name"]: each["spec"] for each in manifests.resources if each["kind"] == "NetworkPolicy"}
    labels = manifests.labels("Deployment")

    assert found == {
        "todo": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "todo"}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                {"to": namespace("kube-system"), "ports": ports(("UDP", 53), ("TCP", 53))},
                {"ports": ports(("TCP", 5432))},
            ],
        },
        "todo-service": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": namespace("ingress"), "ports": ports(("TCP", "http"))},
                {"from": namespace("monitoring"), "ports": ports(("TCP", "metrics"))},
            ],
            "egress": [
                {
                    "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
                    "ports": ports(("TCP", 443)),
                }
            ],
        },
    }


def test_the_service_monitor_has_documented_fields_and_the_interval_of_the_document() -> None:
    """No schema of Kubernetes has it: https://prometheus-operator.dev/docs/api-reference/api/"""
    monitor, ingress = (Manifests(of_files(PRODUCTION)).one(kind) for kind in ("ServiceMonitor", "Ingress"))
    service = Manifests(base()).one("Service")
    [scraped] = yaml.safe_load(block(section(DOCS / "operating.md", "Metrics"), "yaml"))["scrape_configs"]

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"] == {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchLabels": service["metadata"]["labels"]},
        "endpoints": [
            {"port": "metrics", "path": "/metrics", "interval": scraped["scrape_interval"], "scrapeTimeout": "10s"}
        ],
    }
    assert service["metadata"]["labels"]["app.kubernetes.io/name"] == scraped["job_name"]
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}


@HAS_KUBECTL
def test_the_overlay_is_this_release_with_its_own_settings() -> None:
    built = Manifests(production())
    image = f"registry.example.com/todo-service:{VERSION}"

    assert [built.container(kind)["image"] for kind in ("Deployment", "Job")] == [image, image]
    assert built.one("Job")["metadata"]["name"] == f"todo-migrate-{VERSION}"
    assert {each["metadata"].get("namespace") for each in built.resources if each["kind"] != "Namespace"} == {"todo"}
    settings = built.settings("Deployment")
    assert (settings.trusted_proxies, settings.frontend_url) == (1, ("https://app.example.com",))
    assert built.one("HorizontalPodAutoscaler")["spec"]["minReplicas"] == 3


def test_the_documented_commands_migrate_this_release_before_they_apply_the_rest() -> None:
    commands = block((ROOT / "deploy/README.md").read_text().partition("reads this -->\n")[2], "sh").splitlines()
    overlay = PRODUCTION.relative_to(ROOT)
    component = Manifests(base()).one("Job")["metadata"]["labels"]["app.kubernetes.io/component"]
    job = f"todo-migrate-{VERSION}"

    assert commands == [
        f"kubectl apply -k {overlay} -l app.kubernetes.io/component={component}",
        f"kubectl -n todo wait job {job} --for=condition=complete --timeout=10m",
        f"kubectl apply -k {overlay}",
        "kubectl -n todo rollout status deployment todo",
    ]
    assert f"name, value: {job} " in (PRODUCTION / "kustomization.yaml").read_text()

"""The settings of a stack, as a person edits them in ``stack.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stackctl.errors import UsageError
from stackctl.stack.backup_settings import BackupSettings

EngineName = Literal["docker", "local"]
DRILL_MEBIBYTES = 1536
"""Least memory of a container in which a restore drill runs."""
StoreKind = Literal["minio", "s3", "folder"]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,38}[a-z0-9]$")]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
MemoryLimit = Annotated[str, Field(pattern=r"^[1-9][0-9]*[mg]$")]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")]
Requirement = Annotated[  # a package and its versions; no option of pip's, no address
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?( *[~=!<>]=? *[A-Za-z0-9][A-Za-z0-9.*+!,<>=~ ]*)?$"
    ),
]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./ -]{0,99}$")]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")]  # no user:password@: stack.yaml holds no secret


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ports(_Section):
    """Ports on the host, one per service."""

    mlflow: Port = 5000
    store: Port = 9000
    store_console: Port = 9001
    serving: Port = 8888
    serving_staging: Port = 8889
    demo: Port = 8000
    deployer: Port = 8890
    backup: Port = 8891

    @model_validator(mode="before")
    @classmethod
    def _make_way(cls, given: Any) -> Any:
        """Let the ports of services that came later make way: an older ``stack.yaml`` may use their defaults itself."""
        if not isinstance(given, dict):
            return given
        usual = {name: field.default for name, field in cls.model_fields.items()}
        ports = {**{name: port for name, port in usual.items() if name not in cls._LATER}, **given}
        for name in cls._LATER:
            if name not in given:
                ports[name] = next(port for port in range(usual[name], 65536) if port not in ports.values())
        return ports

    _LATER: ClassVar[tuple[str, ...]] = ("serving_staging", "deployer", "backup")

    @model_validator(mode="after")
    def _differ(self) -> Ports:
        taken: dict[int, str] = {}
        for name, port in self:
            if port in taken:
                raise ValueError(f"{name} and {taken[port]} both ask for port {port}")
            taken[port] = name
        return self


class Memory(_Section):
    """Memory limit of each service under Docker: a number with m (MiB) or g (GiB)."""

    mlflow: MemoryLimit = "1g"
    store: MemoryLimit = "1g"
    serving: MemoryLimit = "2g"
    demo: MemoryLimit = "256m"
    worker: MemoryLimit = "2g"
    backup: MemoryLimit = "512m"


class Buckets(_Section):
    """Names of the buckets: MLflow's artifacts, images in, images out, backups, images that batches gave up."""

    mlflow: BucketName = "mlflow"
    inbound: BucketName = "inbound"
    outbound: BucketName = "outbound"
    backup: BucketName = "backup"
    quarantine: BucketName = "quarantine"

    @model_validator(mode="before")
    @classmethod
    def _make_way(cls, given: Any) -> Any:
        """Let the bucket that came later make way: an older ``stack.yaml`` may use its name itself."""
        if not isinstance(given, dict) or "quarantine" in given:
            return given
        names = ("quarantine", *(f"quarantine-{number}" for number in range(2, 9)))
        return {**given, "quarantine": next(name for name in names if name not in list(given.values()))}

    @model_validator(mode="after")
    def _differ(self) -> Buckets:
        names = [name for _, name in self]
        if len(set(names)) != len(names):
            raise ValueError("two buckets have the same name")
        return self


class StoreSettings(_Section):
    """The object store: the bundled MinIO, any S3 endpoint, or plain folders (local engine only)."""

    kind: StoreKind = "minio"
    endpoint: HttpUrl | None = None
    region: str = "us-east-1"

    @model_validator(mode="after")
    def _complete(self) -> StoreSettings:
        if self.kind == "s3" and self.endpoint is None:
            raise ValueError("kind s3 needs an endpoint, for instance https://s3.example.org")
        return self


class MlflowSettings(_Section):
    """The MLflow server: the bundled one, or one that exists elsewhere."""

    kind: Literal["bundled", "external"] = "bundled"
    tracking_uri: HttpUrl | None = None
    registry_uri: HttpUrl | None = None
    allowed_hosts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> MlflowSettings:
        if self.kind == "external" and self.tracking_uri is None:
            raise ValueError("kind external needs a tracking_uri, for instance https://mlflow.example.org")
        return self


class ServingSettings(_Section):
    """The model servers: whether there is one for staging too, and packages that served models need."""

    staging: bool = False
    packages: tuple[Requirement, ...] = ()


class DeploySettings(_Section):
    """Who promotes: people only, or the deployer as well, and what it takes for better."""

    policy: Literal["manual", "auto"] = "manual"
    metric: MetricName = "psnr_y"
    min_delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    direction: Literal["higher", "lower"] = "higher"


class BatchSettings(_Section):
    """Batches: how many workers a run has; auto: by the processors there are."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"


class ImageSettings(_Section):
    """Container images: the base they stand on, and a registry to take them from (none: they are built here)."""

    base: str = "stackctl/base:bookworm"
    registry: str | None = None


class Settings(_Section):
    """All of ``stack.yaml``."""

    schema_version: Literal[1] = 1
    name: Slug
    engine: EngineName = "local"
    model: ModelName = "super-resolution"
    exposure: Literal["loopback"] = "loopback"
    gpu: Literal["none", "all"] = "none"
    ports: Ports = Ports()
    memory: Memory = Memory()
    buckets: Buckets = Buckets()
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    serving: ServingSettings = ServingSettings()
    deploy: DeploySettings = DeploySettings()
    batch: BatchSettings = BatchSettings()
    images: ImageSettings = ImageSettings()
    backup: BackupSettings = BackupSettings()

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.engine == "docker" and self.store.kind == "folder":
            raise ValueError("store kind folder works on the local engine only; choose minio or s3 for engine docker")
        small = _mebibytes(self.memory.backup) < DRILL_MEBIBYTES
        if self.engine == "docker" and self.backup.drill_schedule is not None and small:
            raise ValueError(
                "a drill runs MLflow and a model server inside the backup container: set memory.backup to 2g"
            )
        return self

    @classmethod
    def load(cls, file: Path) -> Settings:
        """Read ``stack.yaml``.

        Raises:
            UsageError: it is not YAML, or a setting is wrong; the message names each one.
        """
        document = _read_yaml(file)
        if isinstance(document, dict):  # a folder without the section was made when there was no such service
            document.setdefault("backup", {"schedule": None})
        return cls.parse(document, source=str(file))

    @classmethod
    def parse(cls, document: Any, *, source: str = "stack.yaml") -> Settings:
        """Validate a document that was read elsewhere; ``source`` names it in the message."""
        try:
            return cls.model_validate(document or {})
        except ValidationError as error:
            wrong = "\n".join(
                f"  {'.'.join(map(str, item['loc'])) or 'stack'}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            )
            raise UsageError(f"{source} has settings that cannot be used:\n{wrong}", f"Edit {source}.") from error


def _mebibytes(limit: str) -> int:
    return int(limit[:-1]) * (1024 if limit.endswith("g") else 1)


def _read_yaml(file: Path) -> Any:
    """Read YAML with libyaml's parser: every command does it, and this is ten times faster than one in Python."""
    import yaml

    class Loader(yaml.CSafeLoader):
        """Refuses a key that stands twice, where YAML libraries silently take the last one."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(file.read_bytes(), Loader=Loader)  # noqa: S506 - a CSafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not readable as YAML: {error}", f"Edit {file}.") from error

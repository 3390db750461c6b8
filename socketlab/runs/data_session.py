"""A notebook at work on its data: the manifest, the prepared images, and who may see what."""

from functools import cached_property

from socketlab.data import Manifest
from socketlab.data.encoded import encoded_array
from socketlab.data.opening import open_views
from socketlab.data.store import Store, prepare
from socketlab.data.views import Views
from socketlab.runs.places import at_home
from socketlab.runs.session import Session
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import Trip


class DataSession(Session):
    """A session that knows its data set; nothing is read before it is asked for."""

    parameters: Parameters

    def __init__(self, parameters: Parameters) -> None:
        self._views: tuple[tuple[str, ...], Views] | None = None
        self._pair_stores: dict[str, Store] = {}
        super().__init__(parameters)

    @cached_property
    def manifest(self) -> Manifest:
        """What the data set says of itself."""
        return self.parameters.manifest

    @cached_property
    def store(self) -> Store:
        """The prepared images; they are prepared now if they were not."""
        return self._prepared(self.manifest, self.parameters.root)

    def pair_store(self, protocol: str) -> Store | None:
        """The images of the data set that a protocol takes its TI pairs from, if it names one.

        They are prepared now, at the size of the others, if they were not.
        """
        manifest = self.parameters.pair_manifest(protocol)
        if manifest is None:
            return None
        if manifest.name not in self._pair_stores:
            self._pair_stores[manifest.name] = self._prepared(manifest, None)
        return self._pair_stores[manifest.name]

    def _prepared(self, manifest: Manifest, root: str | None) -> Store:
        return prepare(
            manifest,
            root=at_home(root) if root else None,
            size=self.parameters.size,
            data_dir=at_home(self.parameters.data_dir),
            say=print,
        )

    def views(
        self, target: str | None = None, protocol: str | None = None, source: str | None = None
    ) -> Views:
        """Who may see what, for a source, a target and a protocol; the last ones are kept."""
        given = self.parameters
        source = source or given.source_domains[0]
        asked = (protocol or given.protocol, target or given.target, source)
        if self._views is None or self._views[0] != asked:
            self._make_encoded(asked[0], asked[1])
            views = open_views(
                self.store,
                protocol=asked[0],
                source=source,
                target=asked[1],
                pair_store=self.pair_store(asked[0]),
                encoding=given.encoding,
            )
            self._views = (asked, views)
        return self._views[1]

    def _make_encoded(self, protocol: str, target: str) -> None:
        """What is made of whole frames, of all cameras that pairs come from; here it says so."""
        from_all = self.manifest.protocol(protocol).pair_sensors == "all"
        for name, domain in self.manifest.domains.items():
            used = name == target or (from_all and domain.modality == "depth")
            if used and self.parameters.encoding == "hha":
                encoded_array(self.store, name, "hha", say=print)

    def trip(
        self,
        method: str | None = None,
        target: str | None = None,
        protocol: str | None = None,
        seed: int | None = None,
    ) -> Trip:
        """A transfer, with the options that its method was given; else as the parameters say."""
        given = self.parameters
        name = method or str(getattr(given, "method", "source_only"))
        return Trip(
            name,
            given.method_of(name),
            given.source_domains,
            target or given.target,
            protocol or given.protocol,
            given.seed if seed is None else seed,
            given.options_of(name),
        )

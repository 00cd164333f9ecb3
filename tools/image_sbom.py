"""The packages of an image as a CycloneDX document: those of Python and those of Debian or Ubuntu."""

import json
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

# Runs in the image with its Python, and prints what `sbom` reads.
LIST_PACKAGES = """
import json, platform, subprocess
from importlib.metadata import distributions
query = ["dpkg-query", "--show", "--showformat", "${Package}\\t${Version}\\t${Architecture}\\n"]
system = subprocess.run(query, check=True, capture_output=True, text=True).stdout
print(json.dumps({
    "system": platform.freedesktop_os_release()["ID"],
    "python": [[one.name, one.version] for one in distributions()],
    "packages": [line.split("\\t") for line in system.splitlines()],
}))
"""


def sbom(listing: str, image: str, version: str) -> str:
    """The document for the output of LIST_PACKAGES in an image."""
    found: dict[str, Any] = json.loads(listing)
    purls = [
        *(
            PackageURL("pypi", None, name.lower().replace("_", "-"), number)
            for name, number in found["python"]
        ),
        *(
            PackageURL("deb", found["system"], name, number, {"arch": arch})
            for name, number, arch in found["packages"]
        ),
    ]
    # A package that two environments of the image have is one component.
    parts = [
        Component(name=one.name, version=one.version, type=ComponentType.LIBRARY, purl=one, bom_ref=str(one))
        for one in dict.fromkeys(purls)
    ]
    document = Bom(components=parts)
    whole = Component(name=image, version=version, type=ComponentType.CONTAINER, bom_ref=image)
    document.metadata.component = whole
    document.register_dependency(whole, parts)
    return make_outputter(document, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)

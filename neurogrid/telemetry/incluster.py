"""Lists SparkApplications from inside a pod, with the pod's own account: one HTTPS call, no client library.

The images leave the Kubernetes client out for its size; outside of pods `neurogrid.cluster` does the same with it.
"""

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from neurogrid.errors import RunError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ANSWER_S = 10.0


@dataclass(frozen=True)
class PodApplications:
    """Lists the SparkApplications of a namespace when called.

    Attributes:
        server: `https://host:port` of the API server.
        account: folder with the pod's `token` and the API server's `ca.crt`.
        namespace: where to look.
        selector: labels that they have.
    """

    server: str
    account: Path
    namespace: str
    selector: str

    def __call__(self) -> list[dict[str, Any]]:
        """Raises RunError where they cannot be listed."""
        path = f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{quote(self.namespace)}/sparkapplications"
        try:
            trust = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
            # Read each time: Kubernetes renews the token every hour.
            token = (self.account / "token").read_text().strip()
            request = Request(  # noqa: S310 - https, by the class's contract
                f"{self.server}{path}?labelSelector={quote(self.selector)}",
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            )
            # A proxy that the environment names for the world outside knows nothing of the API server.
            opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust))
            with opener.open(request, timeout=_ANSWER_S) as answer:
                found = json.loads(answer.read())
            return [item for item in found["items"] if isinstance(item, dict)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"cannot list the SparkApplications of {self.namespace}", found=str(error)) from error

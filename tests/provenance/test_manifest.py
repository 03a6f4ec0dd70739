"""Content credentials: signing, verification, and detection of changes, without the network."""

import datetime
import http.server
import io
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.cli import main
from kinema.errors import UserError
from kinema.media import probe, read_video, save_png, write_video
from kinema.provenance import certificates
from kinema.provenance.manifest import Ingredient, Provenance, c2pa_settings, check_signable, sign
from kinema.provenance.verify import _parse_report, verify_credentials

c2pa = pytest.importorskip("c2pa")

FRAMES = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), dtype=np.uint8)
PROVENANCE = Provenance(prompt='a "red" ball, für Ünï', model="world", seed=2**63 - 1)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A new home folder for each test."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def video(tmp_path) -> Path:
    path = tmp_path / "video.mp4"
    write_video(path, FRAMES, fps=8)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "a.zip", "a.png"])
def test_signing_keeps_the_frames_and_verification_reads_the_provenance(tmp_path, name):
    path = tmp_path / name
    if name == "a.png":
        save_png(path, FRAMES[0])
    else:
        write_video(path, FRAMES, fps=8)
    before, declared = read_video(path), probe(path)
    assert verify_credentials(path).state == "unsigned"
    sign(path, PROVENANCE)
    found = verify_credentials(path)
    assert (found.state, found.problems, found.trust) == ("valid", (), "known")
    assert (found.prompt, found.model, found.seed) == (PROVENANCE.prompt, "world", 2**63 - 1)
    assert found.ai_generated
    assert found.actions == ("c2pa.created",)
    assert found.tool.startswith("Kinema ")
    assert found.signer == "Kinema self-signed"
    assert np.array_equal(read_video(path).frames, before.frames)
    assert probe(path) == declared
    assert os.listdir(tmp_path) == [name]


def test_metadata_of_the_video_survives(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, FRAMES, fps=8, comment='{"prompt": "ünï", "seed": 3}')
    sign(path, PROVENANCE)
    assert probe(path).comment == '{"prompt": "ünï", "seed": 3}'


def test_ingredients_are_listed_with_their_own_credentials(video, tmp_path):
    image, parent, spoiled, web = (tmp_path / n for n in ("p.png", "parent.mp4", "spoiled.mp4", "w.webm"))
    save_png(image, FRAMES[0])
    write_video(parent, FRAMES, fps=8)
    sign(parent, Provenance(prompt="the first video"))
    spoiled.write_bytes(_flip_byte(parent.read_bytes(), -300))
    write_video(web, FRAMES, fps=8)
    upload = io.BytesIO()
    Image.fromarray(FRAMES[1]).save(upload, "JPEG")
    ingredients = (
        Ingredient(source=image, role="first frame"),
        Ingredient(source=parent, role="extended", title="my first video"),
        Ingredient(source=spoiled, role="interpolated"),
        Ingredient(source=web, role="edited"),
        Ingredient(source=upload.getvalue(), role="mask"),
    )
    sign(video, Provenance(prompt="more", ingredients=ingredients))
    found = verify_credentials(video)
    assert found.state == "valid"
    sources = [(source.title, source.role, source.state) for source in found.sources]
    assert sources == [
        ("p.png", "first frame", "unsigned"),
        ("my first video", "extended", "valid"),
        ("spoiled.mp4", "interpolated", "tampered"),
        ("w.webm", "edited", "unsigned"),
        ("mask", "mask", "unsigned"),
    ]
    assert all(len(source.sha256) == 64 for source in found.sources)
    assert len({source.sha256 for source in found.sources}) == 5


def test_every_changed_byte_of_the_frames_is_detected(video):
    sign(video, PROVENANCE)
    data = video.read_bytes()
    start = data.index(b"mdat")
    assert start > 0
    for offset in range(start + 8, len(data), 997):
        video.write_bytes(_flip_byte(data, offset))
        found = verify_credentials(video)
        assert found.state == "tampered"
        assert found.problems == ("the video was changed after it was signed",)


def test_a_changed_prompt_in_the_credentials_is_detected(video):
    sign(video, Provenance(prompt="a red ball rolls"))
    data = video.read_bytes()
    assert data.count(b"a red ball rolls") == 1
    video.write_bytes(data.replace(b"a red ball rolls", b"a tax form, seen"))
    assert verify_credentials(video).state == "tampered"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.integers(1, 255))
@example(0.0, 255)
def test_damaged_files_do_not_raise(video, position, flip):
    if not (video.parent / "signed").exists():
        sign(video, PROVENANCE)
        (video.parent / "signed").write_bytes(video.read_bytes())
    data = bytearray((video.parent / "signed").read_bytes())
    data[int(position * (len(data) - 1))] ^= flip
    video.write_bytes(data)
    assert verify_credentials(video).state in ("valid", "tampered", "unsigned")
    video.write_bytes(data[: max(1, int(position * len(data)))])
    assert verify_credentials(video).state in ("tampered", "unsigned")


def test_signing_twice_leaves_one_signature(video):
    sign(video, Provenance(prompt="first"))
    size = video.stat().st_size
    sign(video, Provenance(prompt="later"))
    assert verify_credentials(video).prompt == "later"
    assert video.stat().st_size == size


def test_unsupported_formats_are_user_errors(tmp_path):
    path = tmp_path / "video.webm"
    write_video(path, FRAMES, fps=8)
    with pytest.raises(UserError, match=r"video.webm can't be signed: .*\.webm file; write .mp4"):
        sign(path, PROVENANCE)
    with pytest.raises(UserError, match="folder of images"):
        check_signable("frames")
    assert verify_credentials(path).problems == (".webm files can't carry credentials",)


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "does not exist"), (b"", "is empty"), (b"not a video at all", "can't be signed")],
)
def test_an_unreadable_file_is_left_unchanged(tmp_path, content, line):
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=line) as caught:
        sign(path, PROVENANCE)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ([] if content is None else ["video.mp4"])
    assert content is None or path.read_bytes() == content


def test_a_missing_or_damaged_ingredient_stops_the_signing(video, tmp_path):
    before = video.read_bytes()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG but no more")
    for source, line in ((tmp_path / "gone.png", "does not exist"), (broken, "can't be signed")):
        with pytest.raises(UserError, match=line):
            sign(video, Provenance(ingredients=(Ingredient(source=source, role="first frame"),)))
        assert video.read_bytes() == before


def test_no_address_in_a_file_is_requested(video):
    """A file may link to remote credentials; a request would reveal the reader to the server."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, format, *args):  # noqa: A002 (the name is http.server's)
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        identity = certificates.load_self_signed()
        builder = c2pa.Builder(
            {"title": "elsewhere", "claim_generator_info": [{"name": "x"}]}, c2pa.Context(c2pa_settings())
        )
        builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
        builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/credentials")
        builder.set_no_embed()
        signer_info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
        with video.open("rb") as source, (video.parent / "elsewhere.mp4").open("wb+") as out:
            builder.sign(c2pa.Signer.from_info(signer_info), "video/mp4", source, out)
        assert verify_credentials(video.parent / "elsewhere.mp4").state != "valid"
        server.shutdown()
    assert requests == []


def test_the_self_signed_certificate_is_created_once_and_private(home):
    first, again = certificates.load_self_signed(), certificates.load_self_signed()
    assert first == again
    path = certificates.signing_dir() / certificates.CERTIFICATE_FILE
    assert path.is_relative_to(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == [certificates.CERTIFICATE_FILE]
    assert "PRIVATE" not in repr(first)


def test_concurrent_calls_create_one_certificate():
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: certificates.load_self_signed(), range(8)))
    assert len(found) == 8
    assert all(identity == found[0] for identity in found)


def test_a_foreign_signer_is_valid_but_unknown(video, tmp_path):
    sign(video, PROVENANCE, identity=certificates.load_self_signed(tmp_path / "other"))
    found = verify_credentials(video)
    assert (found.state, found.trust) == ("valid", "unknown")
    root = certificates.root_pem(tmp_path / "other")
    assert root is not None
    assert verify_credentials(video, roots=root).trust == "known"


@pytest.mark.parametrize("kind", ["es256", "es384", "es512", "ed25519", "ps256"])
def test_an_operators_certificate_signs(video, tmp_path, kind):
    certificate, key = _create_operator_certificate(tmp_path, kind)
    identity = certificates.load_certificate(certificate, key)
    assert identity.algorithm == kind
    sign(video, PROVENANCE, identity=identity)
    found = verify_credentials(video, roots=certificate.read_bytes())
    assert (found.state, found.signer) == ("valid", "Example Studio")


def test_unfit_certificates_have_their_own_messages(tmp_path):
    certificate, key = _create_operator_certificate(tmp_path, "es256")
    other = tmp_path / "other"
    other.mkdir()
    _, foreign = _create_operator_certificate(other, "es256")
    text = tmp_path / "text.pem"
    text.write_text("hello")
    old, old_key = _create_operator_certificate(other, "es256", days=-1)
    cases = [
        (tmp_path / "gone.pem", None, "can't read"),
        (text, None, "is not a certificate with its key"),
        (certificate, foreign, "does not belong"),
        (certificate, text, "is not a certificate with its key"),
        (old, old_key, "expired on"),
    ]
    for path, own_key, line in cases:
        with pytest.raises(UserError, match=line):
            certificates.load_certificate(path, own_key)
    assert certificates.load_certificate(certificate, key).algorithm == "es256"


def test_a_home_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="can't write a signing certificate"):
        certificates.load_self_signed(tmp_path / "file" / "signing")


def test_the_inspect_command_reports_each_state(video, capsys):
    def inspected(*options):
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(video), *options])
        return ended.value.code, capsys.readouterr().out

    code, out = inspected()
    assert (code, out.splitlines()[0]) == (3, f"{video}: UNSIGNED: it has no credentials")
    sign(video, Provenance(prompt="red\x1b[2J ball", model="world", seed=7))
    code, out = inspected()
    assert code == 0
    assert out.splitlines() == [
        f"{video}: VALID: unchanged since it was signed",
        "  video      48x32, 1.12 s, h264",
        "  signed by  Kinema self-signed (known certificate)",
        f"  tool       {verify_credentials(video).tool}",
        "  actions    c2pa.created; generated by a trained model",
        "  model      world",
        "  prompt     red?[2J ball",
        "  seed       7",
    ]
    code, out = inspected("--json")
    values = json.loads(out)
    signed = values["credentials"]
    assert (code, values["state"], signed["seed"], values["video"]["width"]) == (0, "valid", 7, 48)
    video.write_bytes(_flip_byte(video.read_bytes(), -300))
    code, out = inspected()
    head = f"{video}: TAMPERED: the video was changed after it was signed"
    assert (code, out.splitlines()[0]) == (1, head)
    assert json.loads(inspected("--json")[1])["state"] == "tampered"


def test_cli_exits_with_two_for_what_is_no_video(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path / "gone.mp4")])
    assert ended.value.code == 2
    assert "does not exist" in capsys.readouterr().err


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["sources", "seed", "label", "data", "actions", "ingredients", "assertions", "signature_info",
         "claim_generator_info", "failure", "activeManifest", "code", "title"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50)
@given(_json, _json)
def test_reports_of_any_shape_are_read(manifest, results):
    report = {"active_manifest": "a", "manifests": {"a": manifest}, "validation_results": results}
    assert _parse_report(report).state == "tampered"


def _flip_byte(data: bytes, offset: int) -> bytes:
    changed = bytearray(data)
    changed[offset] ^= 0xFF
    return bytes(changed)


def _create_operator_certificate(folder: Path, kind: str, days: int = 30) -> tuple[Path, Path]:
    """The files of a certificate that was issued by a root, and of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    signing_key = {
        "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    root_key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def build_certificate(name, issuer, key, ca):
        def build_name(text):
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text),
                              x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text)])  # fmt: skip

        usage = [not ca, False, False, False, False, ca, ca, False, False]
        builder = (
            x509.CertificateBuilder()
            .subject_name(build_name(name))
            .issuer_name(build_name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(*usage), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        )
        if not ca:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")]), critical=False
            )
        return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    chain, key = folder / f"{kind}{days}.pem", folder / f"{kind}{days}.key"
    chain.write_bytes(
        build_certificate("Example Studio", "Example Root", signing_key, False)
        + build_certificate("Example Root", "Example Root", root_key, True)
    )
    key.write_bytes(
        signing_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain, key

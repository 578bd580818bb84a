"""Any text given to a text key arrives unchanged through Hydra's grammar and OmegaConf's interpolation."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from one2345.cli.quoting import TEXT_KEYS, quote_overrides

# the characters that mean something to one of the two grammars, densely, beside text of any kind
AWKWARD = st.text(alphabet="\\'\"${}[](),=: ~#%\tabé字\n", max_size=16)
ANY = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=()), max_size=24
)  # surrogates too
PARSER = OverridesParser.create()


def through(argument: str, *, multirun: bool = False) -> Override:
    return PARSER.parse_override(quote_overrides([argument], multirun=multirun)[0])


def arrives(override: Override) -> object:
    config = OmegaConf.create({"data": {"root": None}, "other": "x"})
    OmegaConf.update(config, "data.root", override.value())
    plain = OmegaConf.to_container(config, resolve=True)
    return plain["data"]["root"]


@settings(deadline=None, max_examples=25)
@given(st.one_of(AWKWARD, ANY))
@example("/data/it's here, (all) [of] {it} = ${other} ünïcödé.d")
@example("trailing backslash\\")
@example("\\\\'\\${other}\\")
@example("")
@example("backslash, then a line break\\\n")
@example("'quoted'")
@example("a,b")
@example("true")
@example("1e5")
def test_any_text_survives(text):
    if text == "null":
        return
    override = through(f"data.root={text}")
    assert not override.is_sweep_override()
    assert arrives(override) == text


@settings(deadline=None, max_examples=25)
@given(AWKWARD)
def test_any_text_survives_a_multirun_unless_it_is_a_list(text):
    if text == "null" or (text.startswith("[") and text.endswith("]")):
        return
    override = through(f"data.root={text}", multirun=True)
    assert not override.is_sweep_override()
    assert arrives(override) == text


def test_null_unsets():
    assert through("data.root=null").value() is None
    assert arrives(through("data.root=./null")) == "./null"


def test_a_list_of_texts_is_a_sweep_only_in_a_multirun():
    argument = "data.root=[/a b, 'c, d',/e=f]"
    assert arrives(through(argument)) == "[/a b, 'c, d',/e=f]"
    override = through(argument, multirun=True)
    assert override.is_sweep_override()
    values = [PARSER.parse_override(f"data.root={v}").value() for v in override.sweep_string_iterator()]
    assert values == ["/a b", "c, d", "/e=f"]


def test_a_mapping_of_folders_is_quoted_value_by_value():
    override = through("meshes={ours: /a, b (1)/c=d, theirs: it's}")
    assert override.value() == {"ours": "/a, b (1)/c=d", "theirs": "it's"}
    assert through("meshes={}").value() == {}


def test_other_keys_keep_hydras_grammar():
    arguments = ["seed=1,2", "model=sdf_base", "data.ids=[a,b]", "-m", "~logger", "hydra.sweep.dir=x y"]
    assert quote_overrides(arguments) == arguments


def test_prefixes_stay():
    assert quote_overrides(["+out=a b", "++text=c,d"]) == ["+out='a b'", "++text='c,d'"]


def test_the_keys_that_the_house_names_are_all_there():
    named = {
        "text",
        "image",
        "ckpt",
        "posed",
        "truth",
        "out",
        "resume",
        "data.root",
        "source.root",
        "render.python",
    }
    assert named <= TEXT_KEYS

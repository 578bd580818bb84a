"""prepare.py stage=predict: with the objects at hand, exact views are those that were prepared."""

import json

import numpy as np
import pytest
from PIL import Image

from one2345.cli import prepare


def test_predictions_of_known_objects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shapes = ["source=shapes", "source.train=0", "source.val=0", "source.test=1"]
    prepare.run([*shapes, "plan=published", "render.size=32", "render.targets=0", "out=d", "workers=1"])
    for kind in ("oracle", "simulated"):
        prepare.run(["stage=predict", "root=d", f"out={kind}", f"views={kind}", "views.size=32", *shapes])
    (folder,) = (tmp_path / "d" / "objects").iterdir()
    differences = {"oracle": [], "simulated": []}
    for kind, found in differences.items():
        made = sorted((tmp_path / kind / folder.name).glob("*.png"))
        assert [f.stem for f in made] == [f"s{i}_n{j}" for i in range(8) for j in range(4)]
        note = json.loads((made[0].parent / "prediction.json").read_text())
        assert kind in json.dumps(note)
        for file in made:
            with Image.open(file) as ours, Image.open(folder / "images" / file.name) as true:
                a, b = (np.asarray(x.convert("RGBA"), dtype=float) for x in (ours, true))
            found.append(np.abs(a[..., 3] - b[..., 3]).mean())
    assert max(differences["oracle"]) < 0.5
    assert np.mean(differences["simulated"]) > 2.0
    with pytest.raises(SystemExit):
        prepare.run(["stage=predict", "root=d", "out=x", "views=oracle"])

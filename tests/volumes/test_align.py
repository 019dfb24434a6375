"""A data set of heads becomes packed arrays on one grid, with everything that leads back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of
from radsynth.schemas import QUARANTINE, RAW_VOLUMES, VOLUMES
from radsynth.volumes.align import align, align_new_mr, grid_affine
from radsynth.volumes.common_grid import FILE, read_common_grid
from radsynth.volumes.geometry import Volume, apply, rotation_angle_deg, to_native
from radsynth.volumes.io import read_volume, source_sha256, write_nifti

SIZE, SPACING = (56, 60, 36), (4.0, 4.0, 6.0)
OUTPUTS = ("mr.npy", "ct.npy", "mr_depth_mm.npy", "ct_depth_mm.npy")


@pytest.fixture(scope="module")
def raw(tmp_path_factory, make_head, make_rigid):
    """Two CT, one MR, one pair, and one MR with a NaN; how each head lies in its volume."""
    folder = tmp_path_factory.mktemp("raw")
    rows, poses = [], {}
    for name, modality, paired, pose in [
        ("a", "CT", False, make_rigid((3, 4, -5), (6, 4, 8))),
        ("b", "MR", False, make_rigid((-6, 3, 4), (-5, 8, 3))),
        ("c", "CT", True, make_rigid((5, -2, 3), (4, -6, -5))),
        ("c", "MR", True, make_rigid((2, 1, -3), (2, 5, 5))),
        ("d", "MR", False, make_rigid()),
    ]:
        head = make_head(modality, pose, low=(-115, -130, -130), high=(115, 135, 120))
        voxels = head.voxels
        if modality == "MR":
            # stored from left to right, back to front and top to bottom, as scanners like to
            head = Volume(voxels[::-1, :, ::-1], head.affine @ flip(voxels.shape), "MR")
        if name == "d":
            head.voxels[5, 5, 5] = np.nan
        path = folder / f"{name}_{modality}.nii.gz"
        write_nifti(head, path)
        volume_id = f"{name}-{modality.lower()}"
        rows.append((volume_id, name, modality, str(path), "", paired))
        poses[volume_id] = pose
    return pd.DataFrame(rows, columns=list(RAW_VOLUMES.columns)), poses


def flip(shape):
    matrix = np.diag([-1.0, 1.0, -1.0, 1.0])
    matrix[:3, 3] = [shape[0] - 1, 0, shape[2] - 1]
    return matrix


def run(frame, folder, processes=1, max_refused=0.5):
    align(frame, folder, grid_size=SIZE, spacing_mm=SPACING, n4=True, max_refused=max_refused, processes=processes)


@pytest.fixture(scope="module")
def aligned(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "aligned"
    run(raw[0], folder)
    return folder


@pytest.mark.slow
def test_arrays_have_one_row_a_usable_volume(aligned):
    volumes = VOLUMES.read(aligned / "volumes.parquet")
    assert list(volumes["volume_id"]) == ["a-ct", "c-ct", "b-mr", "c-mr"]
    for name, dtype in (("mr", np.float32), ("ct", np.int16), ("mr_depth_mm", np.float16), ("ct_depth_mm", np.float16)):
        array = np.load(aligned / f"{name}.npy")
        assert array.shape == (2, 36, 60, 56)
        assert array.dtype == dtype
    assert list(volumes.groupby("modality")["row"].apply(sorted)) == [[0, 1], [0, 1]]
    assert set(volumes["split"]) == {""}


@pytest.mark.slow
def test_a_new_mr_takes_the_same_steps_bit_by_bit(raw, aligned):
    volumes = VOLUMES.read(aligned / "volumes.parquet").set_index("volume_id")
    known = volumes.loc["b-mr"]
    found = align_new_mr(known["native_path"], read_common_grid(aligned / FILE))
    np.testing.assert_array_equal(found.image, np.load(aligned / "mr.npy")[known["row"]])
    np.testing.assert_array_equal(found.depth_mm, np.load(aligned / "mr_depth_mm.npy")[known["row"]])
    assert found.row["native_to_reference"] == known["native_to_reference"].tolist()


@pytest.mark.slow
def test_a_header_with_its_voxels_beside_is_named_by_both(aligned, tmp_path):
    import SimpleITK as sitk

    volumes = VOLUMES.read(aligned / "volumes.parquet").set_index("volume_id")
    sitk.WriteImage(sitk.ReadImage(volumes.loc["b-mr", "native_path"]), str(tmp_path / "b.mhd"))
    found = align_new_mr(tmp_path / "b.mhd", read_common_grid(aligned / FILE)).row["source_sha256"]
    assert found == source_sha256(tmp_path / "b.mhd") != sha256_of(tmp_path / "b.mhd")


@pytest.mark.slow
def test_a_bad_volume_is_quarantined_and_the_others_are_unharmed(aligned):
    refused = QUARANTINE.read(aligned / "quarantine.parquet")
    assert refused["reason"].tolist() == ["volume_nonfinite"]
    assert refused["verdict"].tolist() == ["quarantined"]


@pytest.mark.slow
def test_equal_anatomy_lies_at_equal_places(raw, aligned):
    points = np.array([[32.0, 20, 25], [0, 62, -42], [-12, 5, 12], [0, 0, 95]])
    volumes = VOLUMES.read(aligned / "volumes.parquet").set_index("volume_id")
    where = {
        name: apply(np.reshape(row["native_to_reference"], (4, 4)).astype(float) @ raw[1][name], points)
        for name, row in volumes.iterrows()
    }
    for name, place in where.items():
        assert np.linalg.norm(place - where["a-ct"], axis=1).max() < 4, name
    assert np.linalg.norm(where["c-mr"] - where["c-ct"], axis=1).max() < 1.5


@pytest.mark.slow
def test_heads_stand_upright_with_their_right_on_the_right(raw, aligned):
    volumes = VOLUMES.read(aligned / "volumes.parquet").set_index("volume_id")
    grid = grid_affine(SIZE, SPACING)
    np.testing.assert_allclose(np.reshape(volumes.loc["b-mr", "grid_affine"], (4, 4)).astype(float), grid)
    mr, ct = np.load(aligned / "mr.npy"), np.load(aligned / "ct.npy")
    depth = np.load(aligned / "ct_depth_mm.npy")[0] > 0
    z, _, x = np.nonzero(depth)
    assert abs(apply(grid, np.array([x.mean(), 0, 0]))[0]) < 4
    assert abs(apply(grid, np.array([0, 0, z.max() + 0.5]))[2]) < 10
    # the bright ball is deep in the right hemisphere, above the skull base
    for image, low, high, deep in ((ct[0], 62, 90, "ct_depth_mm"), (mr[0], 0.9, 2, "mr_depth_mm")):
        bright = (image > low) & (image < high) & (np.load(aligned / f"{deep}.npy")[0] > 35)
        world = apply(grid, np.argwhere(bright)[:, ::-1])
        assert 20 < np.median(world[world[:, 2] > -100], axis=0)[0] < 45


@pytest.mark.slow
def test_mr_is_between_0_and_1_and_ct_is_in_hu_with_air_round_it(aligned):
    mr, ct = np.load(aligned / "mr.npy"), np.load(aligned / "ct.npy")
    assert mr.min() == 0
    assert mr.max() == 1
    inside = np.load(aligned / "ct_depth_mm.npy")[0] > 30
    assert 30 < np.median(ct[0][inside]) < 45
    assert ct[0][0, 0, 0] == -1024


@pytest.mark.slow
def test_a_result_can_be_put_back_on_the_native_grid(raw, aligned):
    frame = raw[0].set_index("volume_id")
    for _, row in VOLUMES.read(aligned / "volumes.parquet").iterrows():
        native = read_volume(frame.loc[row["volume_id"], "path"])
        array = np.load(aligned / f"{row['modality'].lower()}.npy")[row["row"]]
        back = to_native(array, row, fill=-1024 if row["modality"] == "CT" else 0)
        assert back.voxels.shape == native.voxels.shape
        assert back.orientation == native.orientation == row["native_orientation"]
        np.testing.assert_allclose(back.affine, native.affine)
        deep = (
            to_native(np.load(aligned / f"{row['modality'].lower()}_depth_mm.npy")[row["row"]], row, fill=0).voxels > 2
        )
        assert np.corrcoef(back.voxels[deep], native.voxels[deep])[0, 1] > 0.8
        for axis in range(3):
            mirrored = np.flip(native.voxels, axis)[deep]
            assert np.corrcoef(back.voxels[deep], mirrored)[0, 1] < 0.8


@pytest.mark.slow
def test_two_processes_give_the_same_bits_as_one(raw, aligned, tmp_path):
    run(raw[0][raw[0]["volume_id"].isin(["a-ct", "b-mr"])], tmp_path / "again", processes=2)
    for name in OUTPUTS:
        again, before = np.load(tmp_path / "again" / name), np.load(aligned / name)
        np.testing.assert_array_equal(again[0], before[0])
    columns = ["volume_id", "native_to_reference", "registration_metric", "intensity_low", "intensity_high"]
    again, before = (VOLUMES.read(folder / "volumes.parquet")[columns] for folder in (tmp_path / "again", aligned))
    before = before[before["volume_id"].isin(["a-ct", "b-mr"])]
    assert again.astype(str).reset_index(drop=True).equals(before.astype(str).reset_index(drop=True))


@pytest.mark.slow
def test_too_many_refusals_stop_the_stage_and_leave_nothing_half_done(raw, tmp_path):
    frame = raw[0]
    few = frame[frame["volume_id"].isin(["a-ct", "d-mr"])]
    with pytest.raises(RadsynthError, match="1 of 2 volumes cannot be used"):
        run(few, tmp_path / "out", max_refused=0.1)
    assert not (tmp_path / "out").exists()


def test_without_a_ct_there_is_no_reference(raw, tmp_path):
    with pytest.raises(RadsynthError, match="no usable CT"):
        run(raw[0][raw[0]["modality"] == "MR"], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.realdata
def test_real_heads_of_five_people_come_to_lie_over_each_other(realdata, tmp_path):
    from radsynth.sources.brain_folder import list_brain_folder

    frame, _ = list_brain_folder(realdata / "brain")
    run(frame, tmp_path / "out", max_refused=0.0)
    volumes = VOLUMES.read(tmp_path / "out" / "volumes.parquet")
    assert volumes["modality"].value_counts().to_dict() == {"MR": 4, "CT": 1}
    reference = np.load(tmp_path / "out" / "ct_depth_mm.npy")[0] > 0
    # planes that all five fields of view hold: the top of one MR is cut off
    planes = slice(36 - 2 - 15, 36 - 2 - 5)
    for depth in np.load(tmp_path / "out" / "mr_depth_mm.npy"):
        head = (depth > 0)[planes]
        # heads differ in size by a sixth: the smaller lies within the larger, and their middles meet
        assert (head & reference[planes]).sum() / min(head.sum(), reference[planes].sum()) > 0.95
        middles = [np.nonzero(mask)[2].mean() * SPACING[0] for mask in (head, reference[planes])]
        assert abs(middles[0] - middles[1]) < 3
    # this one was delivered in MNI space, upright and level: it may hardly be turned
    mni = volumes[volumes["native_path"].str.contains("ch2")].iloc[0]
    assert rotation_angle_deg(np.reshape(mni["native_to_reference"], (4, 4)).astype(float)) < 6

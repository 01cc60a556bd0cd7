"""Reading annotation files in COCO's format, with a check of every entry."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from keras_paca.arguments import join_first
from keras_paca.detection.coco_segmentations import FAR, segmentation_fault, whole_segmentation
from keras_paca.detection.json_values import is_number, is_whole, show
from keras_paca.warn import warn_user

SHOWN = 3  # number of wrong entries that a message names
OTHER_FILES = {  # {field of an annotation: the other kind of file that has this field}
    "caption": "captions",
    "segments_info": "panoptic segmentation",
    "keypoints": "keypoints",
}


@dataclasses.dataclass(frozen=True)
class COCODataset:
    """Images with their annotations in COCO's format, as `read_coco` returns them.

    Args:
        content: dict. {"images": [...], "annotations": [...], "categories": [...]}, as in the file.
        paths: Sequence of Path. Paths of the images, in the order of `content["images"]`.
        source: Path. Path of the annotation file, or `None`.

    Example:
    >>> from keras_paca.detection import COCODataset
    >>> categories = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]
    >>> content = {"images": [], "annotations": [], "categories": categories}
    >>> COCODataset(content, paths=[]).category_ids
    [1, 3]
    """

    content: Mapping[str, list[dict]]
    paths: Sequence[Path]
    source: Path | None = None

    @property
    def category_ids(self) -> list[int]:
        """The ids of the categories, in the order of the labels that stand for them.

        The ids are sorted, so that label 0 stands for the smallest one. COCO's 80 categories have
        ids from 1 to 90 with gaps.
        """
        return sorted(category["id"] for category in self.content["categories"])


def read_coco(annotations: str | Path, images: str | Path, limit: int | None = None) -> COCODataset:
    """Read an annotation file in COCO's format and find its images.

    The file may come from COCO or from another tool. Numbers such as 5.0 are read as integers.
    "iscrowd" may be missing, null or a boolean. The segmentation of an object may be missing, null
    or `[]`, but only if no object of the file has one. Everything else must follow COCO's
    definition. The error says how many entries are wrong and names the first ones.

    Args:
        annotations: str or Path. The annotation file, such as instances_val2017.json.
        images: str or Path. Folder of the images.
        limit: int. Number of images to read from the beginning of the file. `None`, or a number
            larger than that of the images in the file, reads all.

    Returns:
        COCODataset. The images and annotations.

    Raises:
        FileNotFoundError: If the file, the folder or an image is missing.
        ValueError: If the file isn't in COCO's format for instances, or `limit` isn't a positive
            integer.

    Example:
    >>> import json, pathlib, tempfile
    >>> from keras_paca.detection import read_coco
    >>> image = {"id": 1, "file_name": "1.jpg", "height": 64, "width": 96}
    >>> content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file, picture = pathlib.Path(folder, "coco.json"), pathlib.Path(folder, "1.jpg")
    ...     _ = file.write_text(json.dumps(content))
    ...     picture.touch()
    ...     dataset = read_coco(file, folder)
    >>> [path.name for path in dataset.paths]
    ['1.jpg']
    """
    annotations, images = Path(annotations), Path(images)
    if not annotations.is_file():
        raise FileNotFoundError(f"Expected a file of annotations. No such file: {annotations}")
    if not images.is_dir():
        raise FileNotFoundError(f"Expected a folder of images. No such folder: {images}")
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1
    ):
        raise ValueError(f"`limit` must be an integer of 1 or more. Received: limit={limit!r}")
    content = _read_content(annotations)
    content["images"] = content["images"][:limit]
    chosen = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in chosen]
    _warn_of_empty_boxes(annotations, content)
    return COCODataset(content, _find_images(content["images"], images), annotations)


def _find_images(entries: Sequence[Mapping], folder: Path) -> list[Path]:
    """Return the path of each image."""
    # Tools on Windows write backslashes.
    names = [entry["file_name"] for entry in entries]
    names = [n if (folder / n).is_file() else n.replace("\\", "/") for n in names]
    missing = [i for i, name in enumerate(names) if not (folder / name).is_file()]
    if missing:
        first = missing[0]
        above = ""
        if (folder.absolute().parent / names[first]).is_file():
            above = f". It is there in the folder above, {folder.absolute().parent}"
        raise FileNotFoundError(
            f"Expected {len(names)} images in {folder}. {len(missing)} are missing, first the "
            f"image with id {entries[first]['id']}, {folder / names[first]}{above}"
        )
    return [folder / name for name in names]


def _warn_of_empty_boxes(path: Path, content: Mapping[str, list[dict]]) -> None:
    """Warn of boxes without area inside their image. COCO's train2017 has two of them."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    empty = []
    for entry in content["annotations"]:
        left, top, width, height = entry["bbox"]
        right, bottom = sizes[entry["image_id"]]
        across = min(left + width, right) - max(left, 0)
        down = min(top + height, bottom) - max(top, 0)
        if across <= 0 or down <= 0:
            empty.append(entry["id"])
    if empty:
        warn_user(
            f"{len(empty)} of {len(content['annotations'])} boxes in {path} have no area inside "
            f"their image, and no detector can find them; first the annotation with id {empty[0]}"
        )


# --- The file ---------------------------------------------------------------------------------


def _read_content(path: Path) -> dict[str, list[dict]]:
    """Read and check the three lists of an annotation file, and convert whole numbers to int."""
    expected = f"Expected a JSON file in COCO's format of instances. Received: {path}, "
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{expected}which isn't JSON ({error})") from error
    other = _other_kind(content)
    if other is not None:
        raise ValueError(f"{expected}{other}")
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            raise ValueError(f"{expected}without the list {name}")
    if not content["images"]:
        raise ValueError(f"{expected}without images")

    sizes = {
        entry["id"]: (entry.get("height"), entry.get("width"))
        for entry in content["images"]
        if isinstance(entry, dict) and is_whole(entry.get("id"))
    }
    categories = {
        entry["id"]
        for entry in content["categories"]
        if isinstance(entry, dict) and is_whole(entry.get("id"))
    }
    faults = [
        *_faults("image", "images", content, _image_faults),
        *_faults("category", "categories", content, lambda entry: iter(())),
        *_faults(
            "annotation",
            "annotations",
            content,
            lambda entry: _annotation_faults(entry, sizes, categories),
        ),
    ]
    if faults:
        total = sum(len(content[name]) for name in ("images", "annotations", "categories"))
        raise ValueError(
            f"{expected}in which {len(faults)} of {total} entries "
            f"{'is' if len(faults) == 1 else 'are'} wrong: "
            f"{join_first(faults, SHOWN, '; ')}"
        )
    content = {
        "images": [_whole(entry, "id", "height", "width") for entry in content["images"]],
        "annotations": [_whole_annotation(entry) for entry in content["annotations"]],
        "categories": [_whole(entry, "id") for entry in content["categories"]],
    }
    _check_annotations(expected, content["annotations"])
    if any("keypoints" in entry for entry in content["annotations"]):
        warn_user(f"{path} is a file of keypoints. Only its boxes and segmentations are evaluated")
    return content


def _other_kind(content: Any) -> str | None:
    """Say what kind of file the content comes from if it is no file of instances, or `None`."""
    if isinstance(content, list):
        if content and isinstance(content[0], dict) and "score" in content[0]:
            return "which is a file of results, a list of detections without images"
        return "which is a list"
    if not isinstance(content, dict):
        return f"which is {show(content)}"
    entries = content.get("annotations")
    first = entries[0] if isinstance(entries, list) and entries else None
    if isinstance(first, dict) and "bbox" not in first:
        for field, kind in OTHER_FILES.items():
            if field in first:
                return f"which is a file of {kind}: its annotations have {field} and no bbox"
    return None


def _check_annotations(expected: str, entries: Sequence[Mapping]) -> None:
    """Check what concerns all annotations together.

    Raises:
        ValueError: If only some objects have a segmentation, or all boxes seem to be relative.
    """
    without = [entry["id"] for entry in entries if "segmentation" not in entry]
    if 0 < len(without) < len(entries):
        raise ValueError(
            f"{expected}with a segmentation of some objects and not of others: {len(without)} of "
            f"{len(entries)} annotations have none, first the one with id {without[0]}. Add the "
            "missing ones, or remove all to measure boxes alone"
        )
    if entries and all(max(map(abs, entry["bbox"])) <= 1 for entry in entries):
        raise ValueError(
            f"{expected}in which all boxes lie within one pixel, such as {entries[0]['bbox']} of "
            f"the annotation with id {entries[0]['id']}; COCO's boxes are in pixels, not relative "
            "to the image"
        )


# --- The entries ------------------------------------------------------------------------------


def _faults(
    kind: str,
    name: str,
    content: Mapping[str, Sequence[Any]],
    check: Callable[[Mapping], Iterator[str]],
) -> Iterator[str]:
    """Yield a description of each wrong entry of one list, with the entry's id."""
    seen = set()
    for position, entry in enumerate(content[name], 1):
        place = f"entry {position} of the list {name}"
        if not isinstance(entry, dict):
            yield f"{place} is {show(entry)}, not an object"
            continue
        number = entry.get("id")
        found = []
        if "id" not in entry:
            found.append("`id` is missing")
        elif not is_whole(number):
            found.append("`id` isn't an integer")
        elif number in seen:
            found.append("its id occurs twice")
        else:
            seen.add(number)
        found += check(entry)
        if found:
            known = f"the {kind} with id {show(number)}" if "id" in entry else place
            yield f"{known}: {', '.join(found)}"


def _image_faults(entry: Mapping) -> Iterator[str]:
    """Yield what is wrong with an image."""
    for side in ("height", "width"):
        if not is_whole(entry.get(side)) or entry[side] < 1:
            yield _wrong(entry, side, "an integer of 1 or more")
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        yield _wrong(entry, "file_name", "a text")
    elif PureWindowsPath(name).root or ".." in PureWindowsPath(name).parts:  # "/" and "\\"
        yield _wrong(entry, "file_name", "a path inside the folder of the images")


def _annotation_faults(
    entry: Mapping, sizes: Mapping[int, tuple], categories: set[int]
) -> Iterator[str]:
    """Yield what is wrong with an annotation."""
    for field, known in (("image_id", sizes), ("category_id", categories)):
        if not is_whole(entry.get(field)):
            yield _wrong(entry, field, "an integer")
        elif entry[field] not in known:
            kind = field.removesuffix("_id")
            yield f"`{field}` names the unknown {kind} {show(entry[field])}"
    size = sizes.get(entry.get("image_id")) if is_whole(entry.get("image_id")) else None
    sides = [side for side in size or () if is_whole(side) and side > 0]
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        yield _wrong(entry, "bbox", "four numbers: left, top, width, height")
    elif box[2] < 0 or box[3] < 0:
        yield _wrong(entry, "bbox", "four numbers with a width and a height of 0 or more")
    elif sides and max(map(abs, box)) > FAR * max(sides):
        yield (
            f"`bbox` is far outside the image with id {show(entry['image_id'])}, {size[0]} x "
            f"{size[1]} (height x width): {show(box)}"
        )
    if not is_number(entry.get("area")) or entry["area"] < 0:
        yield _wrong(entry, "area", "a number of 0 or more")
    if entry.get("iscrowd") not in (None, 0, 1):  # False and True are equal to 0 and 1
        yield _wrong(entry, "iscrowd", "0 or 1")
    fault = segmentation_fault(entry.get("segmentation"), size)
    if fault is not None:
        yield f"`segmentation` {fault}"


def _wrong(entry: Mapping, field: str, expected: str) -> str:
    if field not in entry:
        return f"`{field}` is missing"
    return f"`{field}` must be {expected}, and is {show(entry[field])}"


def _whole(entry: Mapping, *fields: str) -> dict:
    """Return an entry whose values in some fields are converted to int."""
    return {**entry, **{field: int(entry[field]) for field in fields}}


def _whole_annotation(entry: Mapping) -> dict:
    """Return a checked annotation in the form that pycocotools reads."""
    entry = _whole(entry, "id", "image_id", "category_id")
    entry["iscrowd"] = int(entry.get("iscrowd") or 0)
    segmentation = whole_segmentation(entry.pop("segmentation", None))
    return entry if segmentation is None else {**entry, "segmentation": segmentation}

"""The tests mirror the package: those of a module are in the file of its name."""

from pathlib import Path

import keras_paca

PACKAGE = Path(keras_paca.__file__).parent
TESTS = Path(__file__).parent

# Tests of no module, and what they test instead.
OTHERS = {
    "conversions/test_copies.py": "what copies of either kind keep of a model",
    "deploy/test_consumers.py": "the programs in examples/deploy",
    "inference/test_twins.py": "the package inference/twins, whose files hold a layer each",
    "parity/test_attentive_nets.py": "outputs of networks with attentive normalization",
    "parity/test_attentive_norm.py": "outputs of the official attentive normalizations",
    "parity/test_castling.py": "outputs of the official linear angular attention",
    "parity/test_dense.py": "outputs of the official segmenters and detectors",
    "parity/test_parity.py": "outputs of the official classifiers",
    "parity/test_vittm.py": "outputs of the official ViTTM",
    "plugins/test_attentive.py": "KerasHub's models with attentive normalizations",
    "plugins/test_castle.py": "KerasHub's vision transformers with another attention",
    "plugins/test_cluster_maps.py": "maps of backbones inside the models of other libraries",
    "plugins/test_docstrings.py": "examples in docstrings that need KerasHub",
    "plugins/test_examples.py": "notebooks that need KerasCV",
    "plugins/test_keras_cv.py": "our backbones in KerasCV's models",
    "plugins/test_keras_hub.py": "our backbones in KerasHub's models, and hub.py",
    "plugins/test_readme.py": "what the README shows of KerasHub",
    "test_benchmarks_index.py": "the list in benchmarks/README.md",
    "test_docstrings.py": "the examples in all docstrings",
    "test_stubs.py": "the stubs that tests/stubs.py writes",
    "test_examples.py": "the notebooks and scripts in examples",
    "test_import.py": "what the package imports, and its public names",
    "test_labels.py": "labels/__init__.py, the only file of its package",
    "test_mirror.py": "this",
    "test_old_files.py": "files that earlier versions saved",
    "test_readme.py": "what the README shows",
}

# Modules without a file of tests, and the file that tests them.
ELSEWHERE = {
    "backbones/densenet_an.py": "backbones/test_attentive.py",
    "backbones/graph_maker.py": "backbones/test_base.py",
    "backbones/mobilenet_an.py": "backbones/test_attentive.py",
    "backbones/normalisation.py": "detection/test_predict.py",
    "backbones/resnet_an.py": "backbones/test_attentive.py",
    "backbones/vittm_keys.py": "backbones/test_vittm.py",
    "backbones/registry.py": "test_models.py",
    "commands/demo.py": "test_demo.py",
    "commands/deployed.py": "commands/test_export.py",
    "commands/opening.py": "commands/test_models.py",
    "commands/pictures.py": "commands/test_predict.py",
    "deploy/latency.py": "commands/test_benchmark.py",
    "detection/checkpoints.py": "backbones/test_task_variants.py",
    "detection/json_values.py": "detection/test_coco_files.py",
    "detection/stages.py": "detection/test_mask_rcnn.py",
    "detection/variants.py": "backbones/test_task_variants.py",
    "cloning.py": "backbones/test_paca_vit.py",
    "hub.py": "plugins/test_keras_hub.py",
    "inference/twin.py": "inference/test_twins.py",
    "layers/auxiliary.py": "backbones/test_castling_vit.py",
    "layers/cross_attention.py": "layers/test_read_write_head.py",
    "layers/latent_attention.py": "layers/test_read_write_head.py",
    "layers/linear_attention.py": "layers/test_read_write_head.py",
    "layers/token_learner.py": "layers/test_read_write_head.py",
    "ops/replicas.py": "layers/test_batch_norm.py",
    "preprocessing/headers.py": "preprocessing/test_colours.py",
    "segmentation/checkpoints.py": "backbones/test_task_variants.py",
    "segmentation/evaluation.py": "commands/test_evaluate.py",
    "segmentation/heads/fcn.py": "segmentation/heads/test_base.py",
    "segmentation/heads/paca.py": "segmentation/heads/test_base.py",
    "segmentation/heads/upernet.py": "segmentation/heads/test_base.py",
    "segmentation/predict.py": "detection/test_predict.py",
    "segmentation/variants.py": "backbones/test_task_variants.py",
    "weights/loader.py": "backbones/test_loading.py",
    "weights/source.py": "backbones/test_loading.py",
}


def test_each_file_of_tests_has_a_module():
    files = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    without = {
        file.as_posix()
        for file in files
        if not (PACKAGE / file.with_name(file.name.removeprefix("test_"))).exists()
    }
    assert without == OTHERS.keys()


def test_each_module_has_a_file_of_tests():
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("[!_]*.py")}
    without = {
        module.as_posix()
        for module in modules
        if module.parts[:2] != ("inference", "twins")
        and not (TESTS / module.with_name(f"test_{module.name}")).exists()
    }
    assert without == ELSEWHERE.keys()
    for file in ELSEWHERE.values():
        assert (TESTS / file).exists()

"""Training a pretext task on two devices: the same as on one, as a batch is shared by them."""

import torch
from safetensors.torch import load_file

from staged_training.runtime.processes import leave
from tests.processes import in_processes
from vision_transfer.backbones import untrained_backbone
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages
from vision_transfer.pretext.training import train_pretext


def train(folder, processes):
    """What each of so many processes does."""
    images = list(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    rotated = RotatedImages(images, 32, augmented=False)
    model, _ = untrained_backbone("test_convnext", ROTATIONS, 32)  # has no statistics of batches
    trainer = train_pretext(
        model, rotated, rotated, folder / "run", epochs=2, batch_size=16, use_cpu=True
    )
    assert trainer.accelerator.num_processes == processes
    trainer.save_model(str(folder / "model"))
    leave()


def weights(folder, processes):
    """What is learnt by so many processes."""
    in_processes(processes, train, folder, processes)
    return load_file(folder / "model" / "model.safetensors")


def test_two_processes_learn_what_one_does(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = weights(tmp_path / "one", processes=1)
    two = weights(tmp_path / "two", processes=2)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-4), name


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path):
    def learn(epochs):
        model, _ = untrained_backbone("test_resnet", ROTATIONS, 32)
        images = list(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        rotated = RotatedImages(images, 32, augmented=False)
        options = {"use_cpu": True, "disable_tqdm": True}
        return train_pretext(model, rotated, rotated, tmp_path, epochs=epochs, **options)

    learn(epochs=2)
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / "model.safetensors").write_bytes(b"half")
    assert learn(epochs=3).state.global_step == 3

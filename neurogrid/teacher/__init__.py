"""A teacher: one model pretrained on consenting households, by ranks that average their gradients (DDP).

    settings.py     how it is trained
    households.py   who is taught, and which rank reads whom
    schedule.py     learning rates, the windows of an epoch, when to stop
    stage.py        the barrier stage of the ranks: TorchDistributor, but for the way in which a result comes back
    rank.py         what one rank does; runs in a process that TorchDistributor starts
    group.py        what ranks tell each other beside gradients
    records.py      its folder: a hash chain of epochs, checkpoints
    distribute.py   the driver's side: slots, starting the ranks, trying again
    store.py        a finished teacher: who may start from it, what it has learnt from

    teachers/<id>/config.yaml teacher.json                  what it is made from
                  data.json                                 files read, their SHA-256, by rank
                  checkpoints/epoch=0001.pt                 weights and optimiser
                  epochs/epoch=0001.json                    the record that makes an epoch durable
                  tries/try=0001.json                       each start of the ranks
                  weights.pt metrics.json end.json          the best epoch's weights, figures, the chain's last record

Nothing here imports a backend.
"""

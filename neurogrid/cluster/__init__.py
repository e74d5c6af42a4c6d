"""NeuroGrid's jobs on Kubernetes, seen from outside: releases, their SparkApplications, what their pods suffer from.

`release` finds what Helm installed, `application` turns a job's template into a SparkApplication of its own, `api` is
the only module that talks to the cluster, `follow` makes one stream of what happens to a job, and `diagnosis` says in
words why a pod does not run.
"""

#!/usr/bin/python
"""Ansible module: the facts of labctl's probe, as ``ansible_facts.labctl``."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.probe import facts

DOCUMENTATION = """
module: lab_facts
short_description: What a host is, has and lacks for a vLLM lab
description:
  - Runs labctl's probe, the one that doctor and the records use (labctl/runner/probe.py names every fact).
  - Changes nothing. An unknown fact is null.
author: [labctl]
options:
  lab_dir:
    description: The lab directory; a relative one lies below the home directory.
    type: str
    required: true
  network:
    description: Also look whether the package index and the model hub answer (three seconds at most).
    type: bool
    default: false
"""
EXAMPLES = """
- name: Look at the host
  lab_facts:
    lab_dir: labctl
"""
RETURN = """
ansible_facts:
  description: Everything found, under the key labctl.
  returned: always
  type: dict
"""


def main():
    """Run as an Ansible module."""
    options = {"lab_dir": {"type": "str", "required": True}, "network": {"type": "bool", "default": False}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    found = facts(module.params["lab_dir"], network=module.params["network"])
    module.exit_json(changed=False, ansible_facts={"labctl": found})


if __name__ == "__main__":
    main()

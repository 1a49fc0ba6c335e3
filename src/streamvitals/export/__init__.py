"""Files for other systems: rules for Prometheus, dashboards for Grafana, manifests for Kubernetes.

    command.py      `streamvitals alerts` and `streamvitals dashboards`
    rules.py        the rules of alerts/ as YAML, for Prometheus and for its operator
    examples.py     the examples for Alertmanager and of costs, a template and the runbooks
    dashboards.py   the dashboards with the thresholds of the user's objectives
    by_label.py     variables and panels for custom labels
    schema_v2.py    the same in Grafana's second schema
    by_service.py   variables for the labels that tell services apart
    alertmanager_config.py  routes and receivers for Prometheus' operator
    grafana_rules.py    rules of Grafana's own, and what is recorded for them
    grafana_texts.py    the texts of alerts without questions
    grafana.py      provisioning, and ConfigMaps for the sidecar
    kubernetes.py   metadata of objects, and ConfigMaps
    yaml_text.py    YAML as text
    leaving_out.py  without what reads metrics that are not shown
    find.py         where the files that are no code lie: in a wheel, or in a checkout
    write.py        files on disk, without losing what somebody has changed in them
"""

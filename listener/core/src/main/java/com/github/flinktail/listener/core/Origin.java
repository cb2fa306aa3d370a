package com.github.flinktail.listener.core;

import java.util.Map;
import org.apache.flink.configuration.Configuration;

/** Which Flink cluster an event comes from, as its configuration tells. */
final class Origin {
    private static final String HA_CLUSTER_ID = "high-availability.cluster-id";
    private static final String HA_CLUSTER_ID_DEFAULT = "/default";

    private final String cluster;
    private final String namespace;
    private final String resource;
    private final String jobKey;

    Origin(Configuration conf) {
        Map<String, String> map = conf.toMap();
        cluster = conf.get(Options.CLUSTER);
        namespace = map.get("kubernetes.namespace");
        resource = resource(map);
        jobKey = conf.get(Options.JOB_KEY);
    }

    void write(Json json) {
        json.field("cluster", cluster).field("namespace", namespace).field("resource", resource).field("job_key", jobKey);
    }

    private static String resource(Map<String, String> map) {
        String ha = map.get(HA_CLUSTER_ID);
        return first(
                map.get("kubernetes.cluster-id"),
                map.get("yarn.application.id"),
                HA_CLUSTER_ID_DEFAULT.equals(ha) ? null : ha,
                map.get("jobmanager.rpc.address"));
    }

    private static String first(String... values) {
        for (String value : values) {
            if (value != null && !value.isEmpty()) {
                return value;
            }
        }
        return null;
    }
}

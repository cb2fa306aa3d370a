package com.github.flinktail.listener.status;

import java.util.Map;
import org.apache.flink.configuration.Configuration;

/** Which scheduler runs the jobs of a cluster. */
final class Scheduling {

    private Scheduling() {}

    /** Whether a restart replaces the execution graph, which then ends as CANCELED though the job goes on. */
    static boolean adaptive(Configuration conf) {
        Map<String, String> map = conf.toMap();
        return "adaptive".equalsIgnoreCase(map.get("jobmanager.scheduler"))
                || "reactive".equalsIgnoreCase(map.get("scheduler-mode"));
    }
}

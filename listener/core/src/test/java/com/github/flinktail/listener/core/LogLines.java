package com.github.flinktail.listener.core;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** What the listeners log while it is open. */
public final class LogLines extends Handler implements AutoCloseable {
    private final Logger logger = Logger.getLogger("com.github.flinktail.listener");
    private final List<String> lines = new CopyOnWriteArrayList<>();

    public LogLines() {
        logger.setUseParentHandlers(false);
        logger.addHandler(this);
    }

    /** The lines with this text in them. */
    public List<String> with(String text) {
        return lines.stream().filter(line -> line.contains(text)).toList();
    }

    @Override
    public void publish(LogRecord record) {
        lines.add(record.getMessage());
    }

    @Override
    public void flush() {}

    @Override
    public void close() {
        logger.removeHandler(this);
    }
}

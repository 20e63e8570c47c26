/* A master made of modbus-serial (npm).  Prints one JSON object.
 *   node modbus_serial.js PORT read | write KW | load ROUNDS                                                         */
"use strict";
const ModbusRTU = require("modbus-serial");
const [port, task, argument] = process.argv.slice(2);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const refused = (asked) => asked.then(() => 0, (error) => error.modbusCode || String(error));

async function reads(client) {
    const places = [[0, 2], [2, 2], [4, 4], [8, 2], [0, 10], [4, 4], [2, 2], [0, 2], [8, 2], [0, 10]];
    const answers = await Promise.all(places.map(([at, n]) => client.readInputRegisters(at, n)));
    const states = await client.readDiscreteInputs(0, 3);
    return {same: answers[0].buffer.equals(answers[7].buffer) && answers[4].buffer.equals(answers[9].buffer),
            sizes: answers.map((answer) => answer.data.length), v18: answers[0].buffer.readFloatBE(0),
            p_kw: answers[2].buffer.readDoubleBE(0), q_kvar: answers[3].buffer.readInt32BE(0) / 100,
            whole_v18: answers[4].buffer.readFloatBE(0), states: states.data.slice(0, 3).map(Number)};
}

async function writes(client, kw) {
    const data = Buffer.alloc(4);
    data.writeFloatBE(kw);
    await client.writeRegisters(0, [data.readUInt16BE(0), data.readUInt16BE(2)]);
    await client.writeCoils(0, [true, false]);
    let set, ties;
    for (let i = 0; i < 200; i++) {
        set = (await client.readHoldingRegisters(0, 2)).buffer.readFloatBE(0);
        ties = (await client.readCoils(0, 2)).data.slice(0, 2);
        if (set === kw && ties[0]) break;
        await pause(20);
    }
    await client.writeCoil(0, false);
    await client.writeRegister(3, 3);
    return {set, ties, read_only: await refused(client.writeRegisters(6, [0, 0])),
            half: await refused(client.writeRegister(0, 1)), range: await refused(client.writeRegister(3, 5)),
            unmapped: await refused(client.readHoldingRegisters(100, 1))};
}

async function load(client, rounds) {
    let right = 0, wrong = 0;
    for (let round = 0; round < rounds; round++) {
        const sizes = [...Array(10).keys()].map((i) => i + 1);
        const answers = await Promise.allSettled(sizes.map((n) => client.readInputRegisters(0, n)));
        answers.forEach((answer, i) => answer.status === "fulfilled" && answer.value.data.length === sizes[i]
            ? right++ : wrong++);
    }
    return {right, wrong};
}

(async () => {
    const client = new ModbusRTU();
    client.setTimeout(5000);
    await client.connectTCP("127.0.0.1", {port: Number(port)});
    client.setID(1);
    const found = task === "read" ? await reads(client)
        : task === "write" ? await writes(client, Number(argument)) : await load(client, Number(argument));
    console.log(JSON.stringify(found));
    client.close(() => process.exit(0));
})().catch((error) => { console.error(error); process.exit(1); });
